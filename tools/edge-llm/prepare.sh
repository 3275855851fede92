#!/bin/sh
# Makes the virtual environment with the real TensorRT Edge-LLM, or says why it cannot.
# usage: prepare.sh PYTHON VENV
set -eu
python=$1 venv=$2
requirements=$(dirname "$0")/requirements.txt

# shellcheck source-path=SCRIPTDIR source=../virtual-environment.sh
. "$(dirname "$0")/../virtual-environment.sh"

if [ -x "$venv/bin/tensorrt-edgellm-serve" ] &&
  "$venv/bin/pip" freeze 2>/dev/null | grep -qx "$(sed -n 's/\[server\]//p' "$requirements")"; then
  exit 0
fi

require_python "$python" 12 "TensorRT Edge-LLM, 3.11 and 3.12 do"

echo "installing TensorRT Edge-LLM into $venv (200 MB to fetch, 800 MB on the disk)"
make_environment "$python" "$venv"
install_requirements "$venv" "$requirements" "$venv/install.log" "TensorRT Edge-LLM"
