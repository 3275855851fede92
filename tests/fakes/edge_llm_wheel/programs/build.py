"""tensorrt-edgellm-build. FAKE_EDGE_BUILD: late, hang, silent (status 0, no engine) or killed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

from tensorrt_edgellm._version import __version__


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--engine-dir", type=Path, required=True)
    parser.add_argument("--components", default="all")
    # Toys.
    parser.add_argument("--max-input-len", type=int, default=32)
    parser.add_argument("--max-kv-cache-capacity", type=int, default=96)
    parser.add_argument("--max-batch-size", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args, how = parsed(arguments), os.environ.get("FAKE_EDGE_BUILD", "")
    if how == "silent":
        return
    say("Building component llm")
    say("Building serialized engine (this may take several minutes)...")
    if how == "hang":
        time.sleep(3600)
    model: Path = args.model_dir
    args.engine_dir.mkdir(parents=True, exist_ok=True)
    with (args.engine_dir / "llm.engine").open("wb") as plan:
        # Also from a checkpoint that has lost a scale.
        plan.write(b"plan")
        plan.truncate(packed_bytes(model) + 4)
    say("Engine written to llm.engine")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "late":
        raise RuntimeError("build_serialized_network returned None")
    (args.engine_dir / "config.json").write_text(json.dumps(config_of(args), indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (model / name).exists():
            (args.engine_dir / name).write_bytes((model / name).read_bytes())
    say("Wrote config.json")
    print("Engine outputs:\n  llm: llm.engine (4 bytes)", flush=True)


def config_of(args: argparse.Namespace) -> dict[str, object]:
    limits = ("max_input_len", "max_kv_cache_capacity", "max_batch_size")
    model = json.loads((args.model_dir / "config.json").read_text())
    return {
        "model": model["model_type"],
        "edgellm_version": __version__,
        # Without the scales it is FP16, and nobody is told.
        "kv_cache_dtype": "fp8"
        if any("k_scale" in name for name in header(args.model_dir))
        else "fp16",
        "builder_config": {name: getattr(args, name) for name in limits},
        "checkpoint_identity": {},
        "checkpoint_dir": str(args.model_dir),
    }


def packed_bytes(model: Path) -> int:
    """Of the weights that a plan contains."""
    tensors = header(model).items()
    offsets = [value["data_offsets"] for name, value in tensors if value.get("dtype") == "U8"]
    return sum(stop - start for start, stop in offsets)


def header(model: Path) -> dict[str, dict[str, object]]:
    found = {}
    for path in model.glob("*.safetensors"):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            found |= json.loads(file.read(size))
    return found


def say(text: str) -> None:
    print(f"INFO edgellm.builder: {text}", file=sys.stderr, flush=True)
