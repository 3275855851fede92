#!/bin/sh
# Makes the virtual environment these tools run in, or says in one sentence why it cannot.
# usage: prepare.sh PYTHON VENV
set -eu
python=$1 venv=$2
requirements=$(dirname "$0")/requirements.txt

# shellcheck source-path=SCRIPTDIR source=../virtual-environment.sh
. "$(dirname "$0")/../virtual-environment.sh"

# One that is there already may be another's, and is used as it is.
if [ -x "$venv/bin/python" ] &&
  "$venv/bin/python" -c 'import importlib.metadata as m, sys
pinned = [line.split("==") for line in open(sys.argv[1]).read().split() if "==" in line]
sys.exit(any(m.version(name).split("+")[0] != version for name, version in pinned))' \
    "$requirements" 2>/dev/null; then
  exit 0
fi

require_python "$python" 13 "these versions, 3.11 to 3.13 do"

echo "installing torch, ModelOpt and transformers into $venv (about 2 GB with a torch for the CPU)"
make_environment "$python" "$venv"
install_requirements "$venv" "$requirements" "$venv/install.log" them
