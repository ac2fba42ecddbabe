# Works with GNU make 3.81. More arguments for the command behind a target: make test ARGS="-k retry -x"
PY := .venv/bin/python
ARGS :=
# Named after the folder, too: a copied tree makes its own venv instead of using the other tree's source.
HERE := $(shell pwd | cksum | cut -d ' ' -f 1)
VENV := .venv/made-$(HERE)
READY := .venv/ready-$(HERE)
TYPED := src tests $(sort $(dir $(wildcard examples/*.py scripts/*.py benchmarks/*.py trials/*.py)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test prove prove-long mutants lint format types bench docs clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

setup: $(READY) ## a .venv with everything in it; the other targets make it when it is missing or old

$(VENV): requirements/dev.txt scripts/setup.sh
	@bash scripts/setup.sh venv
	@touch $@

$(READY): $(VENV) pyproject.toml
	@bash scripts/setup.sh project
	@touch $@

demo: $(READY) ## a real job that is killed and goes on; SRC=dir reviews another source tree
	.venv/bin/windlass demo $(if $(SRC),--src "$(SRC)") $(ARGS)

test: $(READY) ## the tests
	$(PY) -m pytest $(ARGS)

prove: $(READY) ## try to lose, double or corrupt something: kills, power cuts, simulations (4 minutes)
	$(PY) -m trials prove $(ARGS)

prove-long: $(READY) ## the same for an hour; ARGS=--page writes docs/reliability.md anew
	$(PY) -m trials prove --long $(ARGS)

mutants: $(READY) ## break the product in every known way: each must be noticed
	$(PY) -m trials mutants $(ARGS)

lint: $(READY) ## style and mistakes: ruff, and that the code is formatted
	$(PY) -m ruff check $(ARGS) .
	$(PY) -m ruff format --check .

format: $(READY) ## format the code, mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(READY) ## types: mypy on everything, pyright on what users see
	$(PY) -m mypy $(ARGS) $(TYPED)
	@if command -v node >/dev/null; then set -x; $(PY) -m pyright; else echo "SKIPPED pyright: no node on PATH"; fi

bench: .venv/bench-$(HERE) ## the figures of docs/performance.md, beside the peer's
	$(PY) -m benchmarks $(ARGS)

.venv/bench-$(HERE): $(READY) requirements/bench.txt
	@bash scripts/setup.sh bench
	@touch $@

docs: $(READY) ## write the generated pages anew
	$(PY) scripts/promises.py $(ARGS)

clean: ## remove .venv and every cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
