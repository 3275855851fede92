"""Records how a tensorrt-llm engine was made, and compares a rebuild with that record.

Only the rank checkpoint is compared: TensorRT chooses its kernels by timing them, so the engine
files of two builds may differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from enginix.checkpoint.load import hash_all
from enginix.engine.stages import Stages
from enginix.engine.trtllm.command import BuildSpec, build_command
from enginix.engine.trtllm.engine_config import CONFIG_FILE
from enginix.engine.trtllm.plan import Plan
from enginix.engine.trtllm.rank_checkpoint import Converted
from enginix.errors import NotReproduced
from enginix.manifest import Recipe


def hash_ranks(converted: Converted, expected: Mapping[str, str], stages: Stages) -> dict[str, str]:
    """sha256 of the rank checkpoint's files; NotReproduced unless they equal `expected`."""
    with stages.run("hash") as stage:
        names = [CONFIG_FILE, *(path.name for path in converted.rank_files())]
        hashes = hash_all(converted.directory, names)
        for name, wanted in expected.items():
            if (found := hashes.get(name)) != wanted:
                raise NotReproduced(f"{name} of the rank checkpoint", found, wanted)
        compared = ", as recorded" if expected else ""
        stage.summary = f"sha256 of {len(names)} files of the rank checkpoint{compared}"
    return hashes


def recipe(plan: Plan, spec: BuildSpec, rank_checkpoint: dict[str, str]) -> Recipe:
    """The command without this machine's paths and its cluster's launcher."""
    options = {
        "dtype": plan.dtype,
        "max_input_len": plan.options.max_input_len,
        "workers": plan.options.workers,
    }
    named = replace(
        spec, rank_checkpoint=Path("RANK_CHECKPOINT"), output=Path("ENGINE"), launcher=()
    )
    return Recipe(
        command=replace(plan.job, limits=plan.limits).command("tensorrt-llm", **options),
        program=build_command(Path("python"), named),
        options={key: str(value) for key, value in options.items() if value is not None},
        rank_checkpoint=rank_checkpoint,
    )
