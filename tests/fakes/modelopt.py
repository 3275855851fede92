"""A stand-in for ModelOpt's environment: its Python answers as modelopt_program.py does.

`write_environment` makes one. MODELOPT_STANDIN_MODE chooses how it misbehaves,
MODELOPT_STANDIN_GPUS the free bytes of its GPUs, and MODELOPT_STANDIN_PERPLEXITY what it measures,
of the source and of the result.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
ALGORITHMS = {"NVFP4_DEFAULT_CFG": "NVFP4", "FP8_DEFAULT_CFG": "FP8"}

MODE = os.environ.get("MODELOPT_STANDIN_MODE", "")
# Mode -> the command that fails, the kind of failure and its message.
FAILURES = {
    "unsupported": ("load", "unsupported", "The model type `foo` is not recognized"),
    "weights": ("load", "weights", "model.layers.0.mlp.up_proj.weight (1 in all)"),
    "short": ("calibrate", "calibration", "its 20 samples have 60 tokens, expected at least 512"),
    "gpu-memory": ("calibrate", "gpu-memory", "CUDA out of memory. Tried to allocate 20.00 GiB"),
    "memory": ("calibrate", "memory", "DefaultCPUAllocator: can't allocate memory"),
    "raises": ("calibrate", "error", "AssertionError: amax must be a CUDA tensor"),
    "disk": ("export", "disk", "No space left on device (os error 28)"),
}


def write_environment(root: Path) -> Path:
    """`root`/bin/python, which is this program whatever it is told to run."""
    python = root / "bin" / "python"
    python.parent.mkdir(parents=True)
    words = shlex.join([sys.executable, __file__])
    python.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(TESTS))} exec {words}\n")
    python.chmod(0o755)
    return root


def main() -> None:
    if MODE == "no-modules":
        tell(failed="environment", message="No module named 'modelopt'")
        return
    free = json.loads(os.environ.get("MODELOPT_STANDIN_GPUS", "[]"))
    versions = {"ModelOpt": "0.45.0", "torch": "2.13.0+cpu", "transformers": "4.57.6"}
    tell(result={"versions": versions, "gpus": [{"name": "GPU", "free": each} for each in free]})
    state: dict[str, Any] = {"replaced": False}
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        print(f"ModelOpt's own words about {do}", file=sys.stderr, flush=True)
        misbehave(do)
        tell(result={"peak_memory": 1_000_000, **answer(do, command, state)})


def answer(do: str, command: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    match do:
        case "load":
            state["device"] = command["device"]
        case "calibrate":
            state["recipe"] = command["recipe"]
            for done, _ in enumerate(command["samples"], start=1):
                tell(progress=[done, len(command["samples"])])
            return {"tokens": 1234}
        case "export":
            export(Path(command["out"]), ALGORITHMS[state["recipe"]])
        case "replace":
            state["replaced"] = True
        case "score":
            words = os.environ.get("MODELOPT_STANDIN_PERPLEXITY", "8 9").split()
            scored = sum(len(each["ids"]) - each["first"] for each in command["windows"])
            return {"logprob": logprob(words[state["replaced"]], scored)}
        case "answer":
            return {"answers": [[2] * command["max_tokens"] for _ in command["prompts"]]}
    return {}


def logprob(perplexity: str, tokens: int) -> float | None:
    import math

    return None if perplexity == "nan" else -math.log(float(perplexity)) * tokens


def export(out: Path, algo: str) -> None:
    from fakes.random_checkpoint import write_checkpoint

    with tempfile.TemporaryDirectory() as scratch:
        made = write_checkpoint(
            Path(scratch) / "made", algo="FP8" if MODE == "another-format" else algo
        )
        for name in ("model.safetensors", "config.json", "hf_quant_config.json"):
            data = (made / name).read_bytes()
            if MODE == "half" and name == "model.safetensors":
                data = data[: len(data) // 2]
            (out / name).write_bytes(data)
    # ModelOpt's own, which the source's replaces.
    (out / "generation_config.json").write_text('{"eos_token_id": 7}')


def misbehave(do: str) -> None:
    if MODE in FAILURES and FAILURES[MODE][0] == do:
        tell(failed=FAILURES[MODE][1], message=FAILURES[MODE][2])
        raise SystemExit(0)
    if f"killed-in-{do}" == MODE:
        os.kill(os.getpid(), signal.SIGKILL)
    if f"ends-in-{do}" == MODE:
        raise SystemExit(3)
    if f"hangs-in-{do}" == MODE:
        time.sleep(3600)


def tell(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
