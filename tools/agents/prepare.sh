#!/bin/sh
# Installs the agents that tests run, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON DIRECTORY
set -eu
python=$1 directory=$2
here=$(cd "$(dirname "$0")" && pwd)

# shellcheck source-path=SCRIPTDIR source=../virtual-environment.sh
. "$(dirname "$0")/../virtual-environment.sh"

versions=$(cat "$here/package.json" "$here/requirements.txt")
if [ -f "$directory/versions" ] && [ "$(cat "$directory/versions")" = "$versions" ]; then
  exit 0
fi

command -v npm >/dev/null || fail "npm was not found; on Debian and Ubuntu: apt install npm (Node.js 20 or newer)"
require_python "$python" 12 "aider, 3.11 and 3.12 do"

echo "installing Codex, Claude Code, opencode and aider into $directory (about 2 GB)"
rm -rf "$directory"
mkdir -p "$directory"
cp "$here/package.json" "$directory"
# Their scripts only link binaries that came as packages, or download others: neither is wanted.
npm install --prefix "$directory" --ignore-scripts --no-audit --no-fund --no-update-notifier \
  --no-package-lock --loglevel=error >"$directory/npm.log" 2>&1 ||
  fail "npm could not install them (the whole log: $directory/npm.log): $(grep -i error "$directory/npm.log" | tail -n 1)"
make_environment "$python" "$directory/aider"
install_requirements "$directory/aider" "$here/requirements.txt" "$directory/pip.log" aider
printf '%s\n' "$versions" >"$directory/versions"
