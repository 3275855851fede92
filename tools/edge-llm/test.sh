#!/bin/sh
# The real Edge-LLM's builder, cache and server against our engines and requests, without a GPU.
# usage: test.sh VENV
set -eu
python=$(cd "$1" && pwd)/bin/python
cd "$(dirname "$0")/../.."
ENGINIX_EDGE_LLM_PYTHON=$python exec .venv/bin/pytest -q -c tests/pytest.ini \
  tests/serve/servers/test_edge_llm_wheel.py tests/doctor/test_edge_llm.py
