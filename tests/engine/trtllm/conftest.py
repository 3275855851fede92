"""A runtime with the stand-in for TensorRT-LLM, and checkpoints, converted and built with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.random_checkpoint import Shape, write_checkpoint
from fakes.trtllm_runtime import write_runtime

from enginix.engine.build import Job, build_engine
from enginix.engine.stages import StageEvent, StageFinished
from enginix.engine.trtllm.build import BuildContext, tensorrt_llm_build
from enginix.engine.trtllm.building import TrtllmBuild, build_ranks
from enginix.engine.trtllm.command import BuildSpec
from enginix.engine.trtllm.conversion import BuildPaths, convert_ranks
from enginix.engine.trtllm.plan import Options, read_plan
from enginix.engine.trtllm.rank_tensors import least_bytes_of
from enginix.engine.trtllm.stage_cache import open_stage_cache
from enginix.engine.trtllm.watchdog import Outcome, Patience
from enginix.manifest import Limits, Manifest, Quantization

LIMITS = Limits(max_batch_size=4, max_seq_len=1024, max_num_tokens=2048)
NVFP4 = Quantization("NVFP4", "FP8", 16)
# Enough on two busy cores; no test waits this long.
PATIENCE = Patience(silence=60, deadline=120)


def surroundings(**standin: str) -> dict[str, str]:
    """This environment, with TRTLLM_STANDIN_<NAME> for each of `standin`."""
    return {**os.environ, **{f"TRTLLM_STANDIN_{key.upper()}": standin[key] for key in standin}}


def job_of(checkpoint: Path, ranks: int) -> Job:
    return Job("test", checkpoint, limits=LIMITS, tensor_parallel=ranks)


@dataclass
class Report:
    """How much was compared with ModelOpt's recording, printed at the end of the run."""

    tensors: int = 0
    bytes_equal: int = 0

    def count(self, bytes_equal: int) -> None:
        self.tensors += 1
        self.bytes_equal += bytes_equal


REPORT = pytest.StashKey[Report]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if found := config.stash.get(REPORT, None):
        terminalreporter.write_line(
            f"ModelOpt's rank files: {found.tensors:,} tensors compared, "
            f"{found.bytes_equal:,} bytes equal"
        )


@dataclass
class Bench:
    """Builds complete engines in its own directory and records the stages' events."""

    directory: Path
    python: Path
    checkpoint: Path
    warnings: list[str] = field(default_factory=list)
    events: list[StageEvent] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.directory / "engine"

    @property
    def work(self) -> Path:
        return self.directory / "work"

    def build(
        self,
        ranks: int = 2,
        *,
        checkpoint: Path | None = None,
        environment: Mapping[str, str] | None = None,
        replace_it: bool = False,
        **options: object,
    ) -> Manifest:
        self.events.clear()
        workshop = BuildContext(
            self.python, environment or surroundings(), self.work, self.warnings.append
        )
        options.setdefault("patience", PATIENCE)
        build = tensorrt_llm_build(
            job_of(checkpoint or self.checkpoint, ranks), Options(**options), workshop
        )
        return build_engine(build, self.out, self.events.append, replace_it=replace_it)

    def summary(self, stage: str) -> str:
        finished = [each for each in self.events if isinstance(each, StageFinished)]
        return next(each.summary for each in finished if each.name == stage)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runtime(tmp_path_factory.mktemp("runtime") / "root")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 with NVFP4 weights and an FP8 KV cache."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "qwen3")


@pytest.fixture(scope="session")
def plain_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 in BF16."""
    directory = tmp_path_factory.mktemp("checkpoint") / "qwen2"
    return write_checkpoint(directory, Shape(family="qwen2"), algo=None)


@pytest.fixture
def bench(tmp_path: Path, python: Path, checkpoint: Path) -> Bench:
    return Bench(tmp_path, python, checkpoint)


@pytest.fixture(scope="session")
def convert(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Callable[[Path, int], Path]:
    """convert(checkpoint, ranks) -> its rank checkpoint, made once."""
    made: dict[tuple[Path, int], Path] = {}

    def converted(checkpoint: Path, ranks: int) -> Path:
        if (checkpoint, ranks) not in made:
            paths = BuildPaths(python, surroundings(), tmp_path_factory.mktemp("conversion"))
            with open_stage_cache(paths.directory) as cache:
                plan = read_plan(job_of(checkpoint, ranks), Options(), cache)
                cache.begin("rank-checkpoint")
                asyncio.run(
                    convert_ranks(plan.conversion(), paths, PATIENCE, None, lambda done: None)
                )
            made[checkpoint, ranks] = paths.rank_checkpoint
        return made[checkpoint, ranks]

    return converted


@pytest.fixture
def run_build(
    tmp_path: Path, python: Path, checkpoint: Path, convert: Callable[[Path, int], Path]
) -> Callable[..., Outcome]:
    """run_build(mode=..., ...) runs the build command alone; its files are in tmp_path/engine."""

    def run(
        *,
        ranks: int = 2,
        patience: Patience = PATIENCE,
        launcher: tuple[str, ...] = (),
        program: Path = python,
        **standin: str,
    ) -> Outcome:
        rank_checkpoint = convert(checkpoint, ranks)
        paths = BuildPaths(program, surroundings(**standin), tmp_path)
        (tmp_path / "logs").mkdir(exist_ok=True)
        spec = BuildSpec(
            rank_checkpoint, tmp_path / "engine", LIMITS, ranks, NVFP4, launcher=launcher
        )
        least = least_bytes_of(rank_checkpoint / "rank0.safetensors", tied=False)
        building = TrtllmBuild(spec, paths, least, patience)
        return asyncio.run(build_ranks(building, lambda done: None, lambda text: None))

    return run
