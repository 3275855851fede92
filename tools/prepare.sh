#!/bin/sh
# Makes a virtual environment with enginix in it, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON VENV REQUIREMENT
set -eu
python=$1 venv=$2 requirement=$3

fail() {
  printf 'enginix: %s\n' "$1" >&2
  exit 1
}

command -v "$python" >/dev/null ||
  fail "$python was not found; install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv), or name yours: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old, 3.11 or newer is needed; name another with: make PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.platform != "linux")' ||
  fail "enginix runs on Linux; this is $(uname -s)"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  fail "$python cannot make virtual environments; on Debian and Ubuntu: apt install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"

echo "installing enginix into $venv"
# A directory left by an interrupted run is made anew.
[ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv"
log=$venv/install.log
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable "$requirement" >"$log" 2>&1 ||
  fail "pip could not install enginix (the whole log: $log): $(grep -i error "$log" | tail -n 1)"
