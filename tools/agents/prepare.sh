#!/bin/sh
# Installs the agents that tests run, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON DIRECTORY
set -eu
python=$1 directory=$2
here=$(cd "$(dirname "$0")" && pwd)

fail() {
  printf 'enginix: %s\n' "$1" >&2
  exit 1
}

versions=$(cat "$here/package.json" "$here/requirements.txt")
if [ -f "$directory/versions" ] && [ "$(cat "$directory/versions")" = "$versions" ]; then
  exit 0
fi

command -v npm >/dev/null || fail "npm was not found; on Debian and Ubuntu: apt install npm (Node.js 20 or newer)"
command -v "$python" >/dev/null || fail "$python was not found; name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
  fail "$("$python" --version) does not run aider, 3.11 and 3.12 do; name one: make PYTHON=python3.12"

echo "installing Codex, Claude Code, opencode and aider into $directory (about 2 GB)"
rm -rf "$directory"
mkdir -p "$directory"
cp "$here/package.json" "$directory"
# Their scripts only link binaries that came as packages, or download others: neither is wanted.
npm install --prefix "$directory" --ignore-scripts --no-audit --no-fund --no-update-notifier \
  --no-package-lock --loglevel=error >"$directory/npm.log" 2>&1 ||
  fail "npm could not install them (the whole log: $directory/npm.log): $(grep -i error "$directory/npm.log" | tail -n 1)"
"$python" -m venv "$directory/aider" ||
  fail "$python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
"$directory/aider/bin/pip" install --quiet --disable-pip-version-check \
  --requirement "$here/requirements.txt" >"$directory/pip.log" 2>&1 ||
  fail "pip could not install aider (the whole log: $directory/pip.log): $(grep -i error "$directory/pip.log" | tail -n 1)"
printf '%s\n' "$versions" >"$directory/versions"
