"""Checks that an engine fits this machine and runtime before anything touches CUDA.

TensorRT-LLM detects these mismatches late and obscurely ("expecting compute 9.0 got compute
8.9", "MPI size mismatch", "key 'builder_config' not found"). Here each error says what was found,
what was expected, and the command that fixes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.catalog.load import load_catalog
from enginix.errors import EngineMismatch
from enginix.hub_files import engine_files
from enginix.manifest import Manifest, check_files
from enginix.triton.server.gpus import Gpu

# What trtllm-build writes at the top level of an engine's config.json. Without `version`,
# TensorRT-LLM assumes its old format and then misses `builder_config`.
ENGINE_CONFIG_KEYS = {"version", "pretrained_config", "build_config"}


@dataclass(frozen=True, slots=True)
class Machine:
    """`tensorrt_llm` is the serving runtime's version, None if unknown."""

    gpus: Sequence[Gpu]
    tensorrt_llm: str | None = None
    nodes: int = 1
    """How many machines like this one share the engine's ranks."""


def require_fit(directory: Path, manifest: Manifest, machine: Machine) -> None:
    """Raise EngineDamaged or EngineMismatch listing every mismatch, one per line."""
    check_files(directory, manifest)
    mismatches = find_mismatches(directory, manifest, machine)
    if mismatches:
        raise EngineMismatch("\n".join([f"{directory} does not fit here:", *mismatches]))


def find_mismatches(directory: Path, manifest: Manifest, machine: Machine) -> list[str]:
    """One sentence per mismatch; an engine that needs no GPU fits every machine."""
    if manifest.kind == "edge-llm":
        # The rest is compared by the program that starts its server.
        return _gpu_mismatches(manifest, machine)
    if manifest.kind != "tensorrt-llm":
        return []
    return [
        *_config_mismatches(directory, manifest),
        *_gpu_mismatches(manifest, machine),
        *_version_mismatches(manifest, machine.tensorrt_llm),
    ]


def build_command(manifest: Manifest, gpus: int) -> str:
    """The command that builds an engine of this model for that many GPUs."""
    spec = load_catalog().get(manifest.name)
    variants = spec.variants.values() if spec and spec.kind == manifest.kind else ()
    if manifest.kind == "edge-llm":
        # Of Nix' packages it has a checkpoint only.
        return "enginix engine build --checkpoint CHECKPOINT --kind edge-llm --out DIR"
    fitting = [each.tensor_parallel for each in variants if each.tensor_parallel <= gpus]
    if not fitting:
        return (
            f"enginix engine build --checkpoint CHECKPOINT --kind {manifest.kind} --tp {gpus} "
            "--out DIR"
        )
    ranks = max(fitting)
    suffix = "" if ranks == 1 else f"-tp{ranks}"
    return f"nix build .#{manifest.name}-engine{suffix} --option sandbox relaxed"


def _config_mismatches(directory: Path, manifest: Manifest) -> list[str]:
    rebuild = f"build it again: {build_command(manifest, manifest.parallelism.world_size)}"
    config = engine_files(directory).config
    if missing := ENGINE_CONFIG_KEYS - config.keys():
        what = "a Hugging Face" if "architectures" in config else "not an engine's"
        return [
            f"config.json is {what} config.json, without {', '.join(sorted(missing))} "
            f"(TensorRT-LLM would report: key 'builder_config' not found); {rebuild}"
        ]
    found = _within(_within(config, "pretrained_config"), "quantization").get("quant_algo")
    if found != manifest.quantization.algo:
        return [
            f"config.json has quantization {found}, the checkpoint has "
            f"{manifest.quantization.algo}: this engine would generate garbage; {rebuild}"
        ]
    return []


def _gpu_mismatches(manifest: Manifest, machine: Machine) -> list[str]:
    gpus, ranks = machine.gpus, manifest.parallelism.world_size // machine.nodes
    where = "" if machine.nodes == 1 else f" on each of {machine.nodes} machines"
    mismatches = []
    if len(gpus) < ranks:
        mismatches.append(
            f"the engine has {ranks} ranks{where}, one GPU each, and {len(gpus)} GPUs are visible; "
            + (
                f"build one for fewer: {build_command(manifest, len(gpus))}"
                if gpus
                else "check the driver with `enginix doctor`, and CUDA_VISIBLE_DEVICES"
            )
        )
    built_for = manifest.built_with.compute_capability
    for gpu in gpus[:ranks]:
        if built_for is not None and gpu.compute_capability != built_for:
            mismatches.append(
                f"GPU {gpu.index} ({gpu.name}) has compute capability {gpu.compute_capability}, "
                f"the engine was built for {built_for}; build it on this machine: "
                f"{build_command(manifest, ranks)}"
            )
    return mismatches


def _version_mismatches(manifest: Manifest, runtime: str | None) -> list[str]:
    built_with = manifest.built_with.tensorrt_llm
    if runtime is None or built_with is None or runtime == built_with:
        return []
    return [
        f"the engine was built with TensorRT-LLM {built_with}, the runtime here is {runtime}; "
        f"build it with this runtime: {build_command(manifest, manifest.parallelism.world_size)}"
    ]


def _within(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}
