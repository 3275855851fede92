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

# Weights are loaded, handed to TensorRT and serialized: NVIDIA's own logs show 2.5 to 3.2 times the
# engine as the peak of host memory.
COPIES = 3.2
PROGRAM_BYTES = 4_000_000_000

# How much of a rank's time has passed when it is compiled; writing is the rest.
COMPILED_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class TrtllmBuild:
    """`least_bytes` is what one rank's engine cannot be smaller than."""

    spec: BuildSpec
    place: BuildPaths
    least_bytes: int
    patience: Patience

    @property
    def memory(self) -> int:
        """Bytes of RAM it is estimated to take, with all its workers."""
        workers = self.spec.workers or self.spec.ranks
        return workers * (int(self.least_bytes * COPIES) + PROGRAM_BYTES)


async def build_ranks(
    building: TrtllmBuild, progress: Callable[[float], None], warn: Callable[[str], None]
) -> Outcome:
    """Leaves every rank's engine and config.json in the spec's output, or raises a BuildError."""
    spec, place = building.spec, building.place
    files = [spec.output / f"rank{rank}.engine" for rank in range(spec.ranks)]
    config = spec.output / CONFIG_FILE
    for path in (*files, config):
        # What is there before the build begins must not count as built.
        path.unlink(missing_ok=True)
    mark = f"{place.directory}:build"
    written: set[str] = set()
    done = 0.0

    def report(event: LogEvent) -> None:
        nonlocal done
        match event:
            case RankCompiled():
                done += COMPILED_SHARE / spec.ranks
            case RankWritten():
                done += (1 - COMPILED_SHARE) / spec.ranks
            case Warned(text) if text not in written:
                # Every rank says the same.
                written.add(text)
                warn(text)
        progress(min(done, 1.0))

    task = Task(
        program=PROGRAM,
        argv=build_command(place.python, spec),
        environment=build_environment(place.environment, mark),
        mark=mark,
        directory=place.directory,
        log=place.logs / "build.log",
        files=[*files, config],
        is_complete=lambda: missing(files, config, building.least_bytes) is None,
    )
    outcome = await watch(task, building.patience, report)
    _judge_end(building, task, outcome, missing(files, config, building.least_bytes))
    return outcome


def missing(engines: list[Path], config: Path, least_bytes: int) -> str | None:
    """What is not there yet, as a sentence's end; None when everything is."""
    try:
        keys = json.loads(config.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        return f"{config.name} is not there"
    if absent := [key for key in ENGINE_KEYS if key not in keys]:
        return f"{config.name} has no {absent[0]}"
    for path in engines:
        try:
            size = path.stat().st_size
        except OSError:
            return f"{path.name} is not there"
        if size < least_bytes:
            return f"{path.name} has {size} bytes, its weights alone take {least_bytes}"
    return None


def _judge_end(building: TrtllmBuild, task: Task, outcome: Outcome, absent: str | None) -> None:
    """Files decide; a program that ended with an error is believed only if it wrote them all."""
    status = outcome.returncode
    whole = sum(isinstance(event, RankWritten) for event in outcome.events)
    if absent is None and (not status or whole >= building.spec.ranks):
        return
    if status:
        raise explain(Ended(PROGRAM, status, outcome.events, task.log, building.memory))
    raise BuildIncomplete(PROGRAM, absent or "nothing tells why", task.log)
