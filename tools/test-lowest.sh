#!/usr/bin/env bash
# Checks the lower bounds in pyproject.toml: runs tests with the lowest allowed release of each
# dependency, in a separate environment.
# usage: test-lowest.sh [PYTEST-ARGUMENT...]     PYTHON=python3.12 for another Python
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
venv=.venv-lowest
export PYTHONDONTWRITEBYTECODE=1

wanted=$("$python" --version && .venv/bin/python tools/lowest.py python/pyproject.toml)
if [[ ! -f $venv/wanted ]] || [[ $(<"$venv/wanted") != "$wanted" ]]; then
  echo "installing the lowest allowed releases into $venv" >&2
  rm -rf "$venv"
  "$python" -m venv "$venv"
  tail --lines +2 <<<"$wanted" >"$venv/constraints.txt"
  # Not the extra [dev]: schemathesis requires a newer rich.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$venv/constraints.txt" \
    --editable './python[otel]' anthropic hypothesis jsonschema-rs openai psutil pytest pytest-asyncio pytest-timeout
  printf '%s\n' "$wanted" >"$venv/wanted"
fi

# Not engine/trtllm: its conversions and watchdogs take minutes, and few libraries.
# Not the oracles of tests/chat: transformers requires a newer tokenizers.
(($#)) || set -- tests/backends tests/catalog tests/chat tests/checkpoint tests/engine/gguf tests/gateway tests/triton \
  --ignore=tests/chat/test_template_oracle.py --ignore=tests/chat/test_tokens_oracle.py
exec "$venv/bin/python" -m pytest -c tests/pytest.ini -p no:cacheprovider "$@"
