#!/bin/sh
# Installs Open WebUI and Playwright, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON VENV
set -eu
python=$1 venv=$2
requirements=$(dirname "$0")/requirements.txt

# shellcheck source-path=SCRIPTDIR source=../virtual-environment.sh
. "$(dirname "$0")/../virtual-environment.sh"

command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
  fail "chromium was not found; on Debian: apt install chromium"
if [ -f "$venv/requirements.txt" ] && cmp -s "$requirements" "$venv/requirements.txt"; then
  exit 0
fi

require_python "$python" 12 "Open WebUI, 3.11 and 3.12 do"

echo "installing Open WebUI and Playwright into $venv (3 GB with a torch for the CPU, else 8 GB)"
make_environment "$python" "$venv"
install_requirements "$venv" "$requirements" "$venv/install.log" them
cp "$requirements" "$venv/requirements.txt"
