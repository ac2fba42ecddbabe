#!/usr/bin/env bash
# Make .venv: `setup.sh venv` makes it anew from requirements/dev.txt, `setup.sh project` installs Windlass into it.
#
# The newest Python from 3.11 to 3.14 on PATH is taken, or the one that PYTHON names. uv is used if it is on PATH
# (UV= in the environment says no). Nothing else is downloaded: no Python, no build tools.
set -eu
cd "$(dirname "$0")/.."
uv=${UV-uv}
[ -z "$uv" ] || command -v "$uv" >/dev/null || uv=
export UV_PYTHON_DOWNLOADS=never

say() { echo "set-up: $*" >&2; }

find_python() {
  # Each is run, not only looked up: a version switcher leaves commands on PATH that only print an error.
  for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  say "no Python from 3.11 to 3.14 among: ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}"
  exit 1
}

need_venv_module() { # PYTHON
  if "$1" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
  # Debian packs it apart. The package is named after the version: python3-venv serves only Debian's default Python.
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "$1 has no venv module: installing $package"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq </dev/null && apt-get install -y -qq --no-install-recommends "$package" </dev/null >&2; then
      return
    fi
  fi
  say "$1 has no venv module: install the package $package (Debian, Ubuntu), or put uv on PATH"
  exit 1
}

# Both leave compiled bytecode behind: no process starts slower than it must.
install() { # arguments of pip install
  if [ -n "$uv" ]; then
    "$uv" pip install --quiet --compile-bytecode --python .venv/bin/python "$@"
  else
    .venv/bin/python -m pip install -qq --disable-pip-version-check "$@"
  fi
}

case ${1-} in
  venv)
    python=$(find_python)
    say ".venv from requirements/dev.txt, with $("$python" -V 2>&1) and ${uv:-pip}"
    # Made anew each time, so that it holds what the requirements say and nothing else.
    if [ -n "$uv" ]; then
      "$uv" venv --quiet --clear --python "$(command -v "$python")" .venv
    else
      need_venv_module "$python"
      "$python" -m venv --clear .venv
    fi
    install --require-hashes -r requirements/dev.txt
    ;;
  project) install --no-deps --no-build-isolation --editable . ;;
  bench) install --require-hashes -r requirements/bench.txt ;;
  *)
    say "usage: setup.sh venv | project | bench"
    exit 2
    ;;
esac
