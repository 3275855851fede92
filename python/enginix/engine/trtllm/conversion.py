"""Converts a checkpoint to rank checkpoints: one process per rank, every tensor compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.checkpoint.load import Checkpoint
from enginix.engine.trtllm.command import build_environment
from enginix.engine.trtllm.failures import Ended, explain
from enginix.engine.trtllm.log import LogEvent
from enginix.engine.trtllm.rank_tensors import RankTensor, check_rank_file
from enginix.engine.trtllm.watchdog import Patience, Task, watch
from enginix.errors import BuildIncomplete, ConversionWrong
from enginix.hub_files import read_object, without_nulls
from enginix.memory import available_memory
from enginix.records import write_json

CONVERTER = Path(__file__).with_name("convert.py")
"""A program for TensorRT-LLM's Python, which enginix never imports."""

# The keys of rope_parameters and rope_scaling that are compared otherwise.
NOT_SCALING = ("rope_type", "type", "rope_theta")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert; `tensors` is None if the expected tensors are not known."""

    checkpoint: Checkpoint
    ranks: int
    dtype: str
    quant_config: dict[str, Any] | None
    tensors: Mapping[str, RankTensor] | None
    rank_memory: int
    """Estimated bytes of RAM for one rank's conversion."""


@dataclass(frozen=True, slots=True)
class BuildPaths:
    """A build's Python, environment and work directory."""

    python: Path
    environment: Mapping[str, str]
    directory: Path

    @property
    def rank_checkpoint(self) -> Path:
        return self.directory / "rank-checkpoint"

    @property
    def engine(self) -> Path:
        return self.directory / "engine"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"


def at_once(conversion: Conversion, available: int, workers: int | None) -> int:
    """How many ranks to convert in parallel; at least one."""
    fitting = max(1, available // conversion.rank_memory)
    return min(conversion.ranks, fitting, workers or conversion.ranks)


async def convert_ranks(
    conversion: Conversion,
    paths: BuildPaths,
    patience: Patience,
    workers: int | None,
    progress: Callable[[float], None],
) -> list[dict[str, Any]]:
    """The converter's report of every rank; all its processes have ended on return."""
    slots = asyncio.Semaphore(at_once(conversion, available_memory(), workers))
    done = 0

    async def one(rank: int) -> dict[str, Any]:
        nonlocal done
        async with slots:
            report = await _convert_rank(conversion, paths, patience, rank)
        done += 1
        progress(done / conversion.ranks)
        return report

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(rank)) for rank in range(conversion.ranks)]
    except* Exception as failed:
        # The first failure stopped the other ranks; their errors add nothing.
        raise failed.exceptions[0] from None
    check_config(conversion, paths.rank_checkpoint / "config.json")
    return [task.result() for task in tasks]


def check_config(conversion: Conversion, path: Path) -> None:
    """Check the numbers that TensorRT-LLM read from the checkpoint's config.json."""
    written = read_object(path, ConversionWrong)
    if written is None:
        raise ConversionWrong(f"the conversion left no {path}; convert again")
    for key, expected in _promised_config(conversion).items():
        if written.get(key) != expected:
            raise _overlooked(key, written.get(key), expected)
    _check_rope_scaling(conversion.checkpoint.config, written)
    stated = conversion.quant_config or {"quant_algo": None, "kv_cache_quant_algo": None}
    found = written.get("quantization") or {}
    for key, value in stated.items():
        if found.get(key) != value:
            raise ConversionWrong(
                f"the rank checkpoint has {key} = {found.get(key)!r}, expected {value!r}; "
                "this TensorRT-LLM ignored its QuantConfig, and nothing was built from it"
            )


def _overlooked(key: str, found: object, expected: object) -> ConversionWrong:
    return ConversionWrong(
        f"TensorRT-LLM read {key} = {found!r} from the checkpoint, which states {expected!r}; its "
        "transformers is too old for this config.json: add the value under its older name there; "
        "nothing was built from it"
    )


def _check_rope_scaling(config: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    stated = config.get("rope_parameters") or config.get("rope_scaling")
    expected, found = _rope_scaling(stated), _rope_scaling(written.get("rotary_scaling"))
    if "rotary_scaling" in written and any(found.get(key) != expected[key] for key in expected):
        raise _overlooked("rotary_scaling (rope_scaling)", found, expected)


def _rope_scaling(stated: object) -> dict[str, Any]:
    """The type and the numbers of a scaling in either spelling; empty if nothing is scaled."""
    if not isinstance(stated, dict):
        return {}
    kind = stated.get("rope_type", stated.get("type", "default"))
    numbers = {key: value for key, value in stated.items() if key not in NOT_SCALING}
    return {} if kind == "default" else {"rope_type": kind, **without_nulls(numbers)}


def _promised_config(conversion: Conversion) -> dict[str, Any]:
    """The values to check: transformers silently uses a default for a key it does not know."""
    config = conversion.checkpoint.config
    parameters = config.get("rope_parameters")
    newer = parameters.get("rope_theta") if isinstance(parameters, dict) else None
    theta = config.get("rope_theta", newer)
    expected = {
        "architecture": conversion.checkpoint.architecture,
        "num_hidden_layers": config.get("num_hidden_layers"),
        "num_attention_heads": config.get("num_attention_heads"),
        "rotary_base": theta,
    }
    return {key: value for key, value in expected.items() if value is not None}


async def _convert_rank(
    conversion: Conversion, paths: BuildPaths, patience: Patience, rank: int
) -> dict[str, Any]:
    request = {
        "checkpoint": str(conversion.checkpoint.directory.resolve()),
        "architecture": conversion.checkpoint.architecture,
        "output": str(paths.rank_checkpoint),
        "rank": rank,
        "tensor_parallel": conversion.ranks,
        "dtype": conversion.dtype,
        "quantization": conversion.quant_config,
    }
    rank_file = paths.rank_checkpoint / f"rank{rank}.safetensors"
    report = await _report(
        paths,
        patience,
        f"the conversion of rank {rank}",
        f"convert-rank{rank}",
        request,
        writes=[rank_file],
        memory=conversion.rank_memory,
    )
    if conversion.tensors is not None:
        check_rank_file(rank_file, conversion.tensors)
    return report


async def ask_runtime(paths: BuildPaths, patience: Patience) -> dict[str, Any]:
    """The runtime's versions and GPU, in the form of a conversion's report."""
    return await _report(paths, patience, "TensorRT-LLM's Python", "runtime", {})


async def _report(
    paths: BuildPaths,
    patience: Patience,
    program: str,
    name: str,
    request: Mapping[str, Any],
    *,
    writes: Sequence[Path] = (),
    memory: int = 0,
) -> dict[str, Any]:
    """Run the converter; its files in the work directory begin with `name`.

    `memory`: its estimate in bytes, for the error that the machine had too little.
    """
    asked = paths.directory / f"{name}.json"
    report = paths.directory / f"{name}-report.json"
    report.unlink(missing_ok=True)
    write_json(asked, {**request, "report": str(report)})
    mark = f"{paths.directory}:{name}"
    task = Task(
        program=program,
        argv=[str(paths.python), str(CONVERTER), str(asked)],
        environment=build_environment(paths.environment, mark),
        mark=mark,
        directory=paths.directory,
        log=paths.logs / f"{name}.log",
        files=[*writes, report],
        is_complete=report.exists,
    )
    outcome = await watch(task, patience, _ignore)
    # It may fail at exit, or never exit: the report is the last thing it writes.
    if not report.exists():
        if outcome.returncode:
            raise explain(Ended(program, outcome.returncode, outcome.events, task.log, memory))
        raise BuildIncomplete(program, "wrote no report", task.log)
    data: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return data


def _ignore(event: LogEvent) -> None:
    """Ignore a conversion's warnings: comparing the tensors finds every real problem."""
