"""`enginix checkpoint inspect`: shows what a checkpoint is, and what can be built from it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import Checkpoint, open_checkpoint
from enginix.cli.find_checkpoint import find_checkpoint_directory
from enginix.cli.views.sizes import human_size
from enginix.errors import CheckpointError, UsageError
from enginix.manifest import Limits


def run(args: argparse.Namespace) -> int:
    if args.tp < 1:
        raise UsageError(f"--tp: expected 1 or more, got {args.tp}")
    try:
        directory, limits = _source(args.source, args.tp)
        found = inspect_checkpoint(
            open_checkpoint(directory), tensor_parallel=args.tp, limits=limits
        )
    except CheckpointError as error:
        if not args.json:
            raise
        print(json.dumps({"usable": False, "damage": [str(error)]}, indent=2))
        return 1
    print(json.dumps(_as_json(found), indent=2) if args.json else "\n".join(_as_text(found)))
    return 0 if found.usable_by else 1


def _source(source: str, ranks: int) -> tuple[Path, Limits | None]:
    """The directory, and the limits of the catalogue's variant if there is one."""
    directory = find_checkpoint_directory(source)
    if "/" in source or Path(source).is_dir():
        return directory, None
    variants = find_model(source).variants.values()
    variant = next((each for each in variants if each.tensor_parallel == ranks), None)
    return directory, variant.limits if variant else None


def _as_text(found: Inspection) -> list[str]:
    lines = [_verdict(found), *(f"  {sentence}" for sentence in found.damage), ""]
    for kind, verdict in found.kinds.items():
        word = "no" if found.refusals(kind) else "perhaps" if verdict.doubts else "yes"
        lines.append(f"{kind:<13} {word}")
        reasons = verdict.refusals or (*verdict.doubts, *verdict.remarks)
        lines += [f"  {sentence}" for sentence in reasons]
    lines += ["", *_estimates(found)]
    if found.notes:
        lines += ["", "notes", *(f"  {sentence}" for sentence in found.notes)]
    return lines


def _verdict(found: Inspection) -> str:
    what = describe(found.checkpoint)
    if found.damage:
        return f"not usable: {what}: it is damaged or incomplete"
    if not found.usable_by:
        return f"not usable: {what}: sound, but no engine kind runs it on {_gpus(found)}"
    return f"usable: {what}: sound, for {' or '.join(found.usable_by)}"


def describe(checkpoint: Checkpoint) -> str:
    """'Qwen3ForCausalLM, NVFP4, FP8 KV cache, 2.4 MB'."""
    quantization = checkpoint.quantization
    size = sum(tensor.size_bytes for tensor in checkpoint.tensors.values())
    cache = f", {quantization.kv_cache_algo} KV cache" if quantization.kv_cache_algo else ""
    weights = quantization.algo or "not quantized"
    return f"{checkpoint.architecture}, {weights}{cache}, {human_size(size)}"


def _estimates(found: Inspection) -> list[str]:
    limits, numbers = found.limits, found.estimate
    lines = [
        f"estimates for {_gpus(found)}, batch {limits.max_batch_size}, "
        f"context {limits.max_seq_len}, {limits.max_num_tokens} tokens a step",
        f"  engine       {human_size(numbers.rank_weights)} per rank",
    ]
    if numbers.kv_cache_per_token is not None:
        lines += [
            f"  KV cache     {human_size(round(numbers.kv_cache_per_token))} per token and rank",
            f"  GPU memory   {human_size(numbers.gpu_least)} per GPU with one full sequence, "
            f"{human_size(numbers.gpu_most)} with {limits.max_batch_size}",
        ]
    return [
        *lines,
        f"  host memory  {human_size(numbers.convert_memory)} for each rank's conversion",
        f"  disk         {human_size(numbers.disk)} for rank checkpoints and engines",
    ]


def _gpus(found: Inspection) -> str:
    return "1 GPU" if found.tensor_parallel == 1 else f"{found.tensor_parallel} GPUs"


def _as_json(found: Inspection) -> dict[str, object]:
    return {
        "usable": bool(found.usable_by),
        "directory": str(found.checkpoint.directory),
        "architecture": found.checkpoint.architecture,
        "quantization": asdict(found.checkpoint.quantization),
        "format": found.checkpoint.format,
        "tensors": len(found.checkpoint.tensors),
        "tensor_parallel": found.tensor_parallel,
        "limits": asdict(found.limits),
        "damage": found.damage,
        "kinds": {
            kind: {
                "usable": kind in found.usable_by,
                "refusals": found.refusals(kind),
                "doubts": verdict.doubts,
                "remarks": verdict.remarks,
            }
            for kind, verdict in found.kinds.items()
        },
        "notes": found.notes,
        "estimate": {
            **asdict(found.estimate),
            "gpu_least": found.estimate.gpu_least,
            "gpu_most": found.estimate.gpu_most,
        },
    }
