#!/bin/sh
# Makes the virtual environment these tools run in, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON VENV
set -eu
python=$1 venv=$2
requirements=$(dirname "$0")/requirements.txt

fail() {
  printf 'enginix: %s\n' "$1" >&2
  exit 1
}

# One that is there already may be another's, and is used as it is.
if [ -x "$venv/bin/python" ] &&
  "$venv/bin/python" -c 'import importlib.metadata as m, sys
pinned = [line.split("==") for line in open(sys.argv[1]).read().split() if "==" in line]
sys.exit(any(m.version(name).split("+")[0] != version for name, version in pinned))' \
    "$requirements" 2>/dev/null; then
  exit 0
fi

command -v "$python" >/dev/null ||
  fail "$python was not found; name a Python of 3.11 to 3.13: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
  fail "$("$python" --version) does not run these versions, 3.11 to 3.13 do; name one: make PYTHON=python3.12"

echo "installing torch, ModelOpt and transformers into $venv (about 2 GB with a torch for the CPU)"
rm -rf "$venv"
"$python" -m venv "$venv" ||
  fail "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
log=$venv/install.log
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >"$log" 2>&1 ||
  fail "pip could not install them (the whole log: $log): $(grep -i error "$log" | tail -n 1)"
