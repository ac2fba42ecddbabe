#!/usr/bin/env bash
# Write requirements/*.txt anew: exact versions and hashes, for every platform and for Python 3.11 to 3.14.
# More arguments go to uv, for example --upgrade or --upgrade-package ruff.
set -eu
cd "$(dirname "$0")/.."

# fewest: one version of a package for all Pythons, wherever there is one.
lock="uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --fork-strategy fewest
  --no-emit-index-url --no-emit-find-links --custom-compile-command scripts/lock.sh"

# The later files take the versions of dev.txt, so that all three fit into one venv.
$lock ${1+"$@"} -o requirements/dev.txt pyproject.toml requirements/run.in requirements/dev.in --all-extras
$lock -o requirements/run.txt pyproject.toml requirements/run.in --extra cli -c requirements/dev.txt
$lock -o requirements/bench.txt requirements/bench.in -c requirements/dev.txt
