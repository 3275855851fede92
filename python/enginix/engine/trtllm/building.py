"""Builds all ranks' engines with `trtllm-build`, watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enginix.engine.trtllm.command import PROGRAM, BuildSpec, build_command, build_environment
from enginix.engine.trtllm.conversion import BuildPaths
from enginix.engine.trtllm.engine_config import CONFIG_FILE, ENGINE_KEYS
from enginix.engine.trtllm.failures import Ended, explain
from enginix.engine.trtllm.log import LogEvent, RankCompiled, RankWritten, Warned
from enginix.engine.trtllm.watchdog import Outcome, Patience, Task, watch
from enginix.errors import BuildIncomplete

# Weights are loaded, passed to TensorRT and serialized: NVIDIA's own logs show a host memory peak
# of 2.5 to 3.2 times the engine.
COPIES = 3.2
PROGRAM_BYTES = 4_000_000_000

# The share of a rank's time that compilation takes; the rest is writing.
COMPILED_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class TrtllmBuild:
    """`least_bytes` is the lower bound of one rank's engine."""

    spec: BuildSpec
    paths: BuildPaths
    least_bytes: int
    patience: Patience

    @property
    def memory(self) -> int:
        """Estimated bytes of RAM, with all workers."""
        workers = self.spec.workers or self.spec.ranks
        return workers * (int(self.least_bytes * COPIES) + PROGRAM_BYTES)


async def build_ranks(
    building: TrtllmBuild, progress: Callable[[float], None], warn: Callable[[str], None]
) -> Outcome:
    """Write every rank's engine and config.json to the spec's output, or raise a BuildError."""
    spec, paths = building.spec, building.paths
    files = [spec.output / f"rank{rank}.engine" for rank in range(spec.ranks)]
    config = spec.output / CONFIG_FILE
    for path in (*files, config):
        # Files from before the build must not count as built.
        path.unlink(missing_ok=True)
    mark = f"{paths.directory}:build"
    done = 0.0

    def report(event: LogEvent) -> None:
        nonlocal done
        match event:
            case RankCompiled():
                done += COMPILED_SHARE / spec.ranks
            case RankWritten():
                done += (1 - COMPILED_SHARE) / spec.ranks
            case Warned(text):
                warn(text)
        progress(min(done, 1.0))

    task = Task(
        program=PROGRAM,
        argv=build_command(paths.python, spec),
        environment=build_environment(paths.environment, mark),
        mark=mark,
        directory=paths.directory,
        log=paths.logs / "build.log",
        files=[*files, config],
        is_complete=lambda: missing(files, config, building.least_bytes) is None,
    )
    outcome = await watch(task, building.patience, report)
    _judge_end(building, task, outcome, missing(files, config, building.least_bytes))
    return outcome


def missing(engines: list[Path], config: Path, least_bytes: int) -> str | None:
    """The first missing or incomplete file, as the end of a sentence; None if complete."""
    try:
        keys = json.loads(config.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        return f"{config.name} is missing"
    if absent := [key for key in ENGINE_KEYS if key not in keys]:
        return f"{config.name} has no {absent[0]}"
    for path in engines:
        try:
            size = path.stat().st_size
        except OSError:
            return f"{path.name} is missing"
        if size < least_bytes:
            return f"{path.name} has {size} bytes, but its weights alone take {least_bytes}"
    return None


def _judge_end(building: TrtllmBuild, task: Task, outcome: Outcome, absent: str | None) -> None:
    """Judge by the files: an error exit is ignored if all of them were written."""
    status = outcome.returncode
    whole = sum(isinstance(event, RankWritten) for event in outcome.events)
    if absent is None and (not status or whole >= building.spec.ranks):
        return
    if status:
        raise explain(Ended(PROGRAM, status, outcome.events, task.log, building.memory))
    raise BuildIncomplete(PROGRAM, absent or "its log gives no reason", task.log)
