#!/usr/bin/env bash
# With every other installed Python: install the wheel, import all modules, and run the demo.
# The environments are kept in .venv-pythonX and $XDG_CACHE_HOME/enginix/pythonX-wheel for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

find_python() { # VERSION: its path, also where only pyenv knows it
  local path
  for path in "$(command -v "python$1")" "$HOME"/.pyenv/versions/"$1".*/bin/python"$1"; do
    [[ -x $path ]] && "$path" -c '' 2>/dev/null && echo "$path" && return
  done
  return 1
}

import_everything='
import importlib, pkgutil, enginix
# Programs of other environments, what needs an extra, and the one that runs when it is imported.
elsewhere = (
    "enginix.triton.templates", "enginix.engine.trtllm.convert", "enginix.serve.llama_server",
    "enginix.gateway.traces.otlp", "enginix.__main__",
)
for module in pkgutil.walk_packages(enginix.__path__, "enginix."):
    if not module.name.startswith(elsewhere):
        importlib.import_module(module.name)
'

free_port() {
  .venv/bin/python -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

try_demo() { # ENGINIX: the demo, on free ports, answers and ends
  local log=$1 enginix=$2 demo
  : >"$log"
  "$enginix" up demo --port "$(free_port)" --http-port 0 --grpc-port 0 --metrics-port 0 >"$log" 2>&1 &
  demo=$!
  until grep -q '^openai ' "$log"; do
    kill -0 "$demo" 2>/dev/null || return 1
    sleep 0.2
  done
  grep -q 'The capital of France is Paris' "$log" || return 1
  kill "$demo" && wait "$demo"
}

for version in 3.11 3.12 3.13; do
  [[ $version != "$own" ]] || continue
  python=$(find_python "$version") || { echo "there is no Python $version here: it is not tried" >&2; continue; }
  venv=.venv-python$version-wheel
  [[ -x $venv/bin/pip ]] || "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check ./python
  "$venv/bin/python" -W error::SyntaxWarning -I -c "$import_everything"
  export ENGINIX_HOME=${XDG_CACHE_HOME:-$HOME/.cache}/enginix/python$version
  try_demo "$venv/demo.log" "$venv/bin/enginix" || { cat "$venv/demo.log" >&2; exit 1; }
  echo "Python $version: the wheel is installed, all of it is imported, the demo answers"
done
