#!/bin/sh
# Installs Open WebUI and Playwright, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON VENV
set -eu
python=$1 venv=$2
requirements=$(dirname "$0")/requirements.txt

fail() {
  printf 'enginix: %s\n' "$1" >&2
  exit 1
}

command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
  fail "chromium was not found; on Debian: apt install chromium"
if [ -f "$venv/requirements.txt" ] && cmp -s "$requirements" "$venv/requirements.txt"; then
  exit 0
fi

command -v "$python" >/dev/null || fail "$python was not found; name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
  fail "$("$python" --version) does not run Open WebUI, 3.11 and 3.12 do; name one: make PYTHON=python3.12"

echo "installing Open WebUI and Playwright into $venv (3 GB with a torch for the CPU, else 8 GB)"
rm -rf "$venv"
"$python" -m venv "$venv" ||
  fail "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
log=$venv/install.log
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >"$log" 2>&1 ||
  fail "pip could not install them (the whole log: $log): $(grep -i error "$log" | tail -n 1)"
cp "$requirements" "$venv/requirements.txt"
