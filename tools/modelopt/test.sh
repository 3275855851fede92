#!/bin/sh
# Records what ModelOpt writes anew; holds that to the recording, and our conversion to both. Then
# quantizes the demo model by `enginix checkpoint quantize`.
set -eu
cd "$(dirname "$0")/../.."
recording=$(mktemp -d)
trap 'rm -rf "$recording"' EXIT

.venv-modelopt/bin/python tools/modelopt/record.py "$recording" >"$recording.log" 2>&1 || {
  tail -n 20 "$recording.log" >&2
  echo "enginix: ModelOpt made no recording; the whole log: $recording.log" >&2
  exit 1
}
rm "$recording.log"
.venv-modelopt/bin/python tools/modelopt/compare.py tests/recordings/modelopt "$recording"
ENGINIX_MODELOPT_RECORDING=$recording .venv/bin/pytest -q -c tests/pytest.ini \
  tests/engine/trtllm/test_modelopt_recording.py
ENGINIX_RUNTIME_MODELOPT=$PWD/.venv-modelopt .venv/bin/pytest -q -c tests/pytest.ini tests/quantize
