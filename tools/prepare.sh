#!/bin/sh
# Creates a virtual environment with enginix, or reports in one sentence what this machine lacks.
# usage: prepare.sh PYTHON VENV REQUIREMENT [PORT... | demo [ARG...]]     the ports must be free
set -eu
python=$1 venv=$2 requirement=$3
shift 3

# shellcheck source-path=SCRIPTDIR source=virtual-environment.sh
. "$(dirname "$0")/virtual-environment.sh"

fits() {
  command -v "$1" >/dev/null &&
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

# If python3 is too old or too new, the system may have another one that fits.
if [ "$python" = python3 ] && ! fits python3; then
  for other in python3.13 python3.12 python3.11; do
    if fits "$other"; then
      echo "python3 is not Python 3.11, 3.12 or 3.13; using $other"
      python=$other
      break
    fi
  done
fi
command -v "$python" >/dev/null ||
  fail "$python was not found; install Python 3.11, 3.12 or 3.13 and what the demo needs of the system (Debian 12 and 13, Ubuntu 24.04: apt install python3-venv libpython3-dev libgomp1, as root)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' ||
  fail "$("$python" --version 2>&1) is too old, 3.11, 3.12 or 3.13 is needed; name another with: make PYTHON=python3.12"
home=${ENGINIX_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/enginix}
"$python" tools/check-machine.py "$venv" "$home" "$@" || exit 1

trap 'echo "enginix: interrupted; run it again to go on" >&2; exit 130' INT
echo "installing enginix into $venv"
# Recreate a directory left by an interrupted run.
[ -x "$venv/bin/pip" ] || why=$("$python" -m venv --clear "$venv" 2>&1) ||
  fail "$python cannot make a virtual environment in $venv: $(echo "$why" | tail -n 1)"
log=$venv/install.log
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable "$requirement" >"$log" 2>&1 || {
  errors=$(grep -E 'ERROR: |rror: ' "$log" || tail -n 1 "$log")
  # The first one that says what happened, as in runtimes/pip.py.
  why=$(echo "$errors" | grep -vE 'subprocess-exited-with-error|generation-failed|Failed to build|ERROR: Exception:' | head -n 1 | sed 's/^ *//')
  [ "$why" ] || why=$(echo "$errors" | tail -n 1)
  if grep -q 'Retrying (' "$log"; then
    why="the package index cannot be reached; check the network or pip's index settings"
  elif grep -q 'No space left on device' "$log"; then
    why="the disk of $venv, or of TMPDIR, is full"
  fi
  fail "pip could not install enginix (the whole log: $log): $why"
}
echo "the command is $venv/bin/enginix; to call it as enginix: export PATH=\"$(cd "$venv/bin" && pwd):\$PATH\""
