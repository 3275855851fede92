"""A build is judged by the files it leaves; every failure has its own message."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine.trtllm.conftest import PATIENCE

from enginix.engine.trtllm.building import missing
from enginix.engine.trtllm.command import MARK
from enginix.engine.trtllm.watchdog import Outcome
from enginix.errors import (
    BuildCrashed,
    BuildIncomplete,
    BuildStalled,
    DiskFull,
    GpuMemoryFull,
    NoGpu,
    OutOfMemory,
)
from enginix.marked import marked
from enginix.process import find_program

RunBuild = Callable[..., Outcome]

# The limit between the completion of the engine and the return of the command.
SECONDS_TO_RETURN = 3.0

needs_mpirun = pytest.mark.skipif(
    find_program("mpirun") is None, reason="needs mpirun (Debian: openmpi-bin)"
)
MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "1")


def since_complete(engine: Path) -> float:
    """Seconds since the last of the engine's files was written."""
    return time.time() - max(path.stat().st_mtime for path in engine.iterdir())


def is_alone(tmp_path: Path) -> bool:
    return not marked(MARK, f"{tmp_path}:build")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_build_leaves_an_engine_for_every_rank(
    run_build: RunBuild, tmp_path: Path, ranks: int
) -> None:
    assert run_build(ranks=ranks).returncode == 0
    names = {path.name for path in (tmp_path / "engine").iterdir()}
    assert names == {"config.json", *(f"rank{rank}.engine" for rank in range(ranks))}


def test_the_timing_cache_stays_in_the_work_directory(run_build: RunBuild, tmp_path: Path) -> None:
    run_build(ranks=1)
    assert (tmp_path / "model.cache").exists()


def test_a_complete_engine_returns_within_three_seconds_although_its_builder_stays(
    run_build: RunBuild, tmp_path: Path
) -> None:
    seconds = []
    for _ in range(5):
        outcome = run_build(mode="hang-after-success")
        seconds.append(since_complete(tmp_path / "engine"))
        assert outcome.returncode is None
        assert is_alone(tmp_path)
    assert statistics.median(seconds) <= SECONDS_TO_RETURN, seconds


@needs_mpirun
def test_the_same_holds_under_open_mpi(run_build: RunBuild, tmp_path: Path) -> None:
    outcome = run_build(mode="hang-after-success", launcher=MPIRUN)
    assert since_complete(tmp_path / "engine") <= SECONDS_TO_RETURN
    assert outcome.returncode is None
    assert is_alone(tmp_path)


@needs_mpirun
def test_a_successful_build_under_open_mpi_is_not_disturbed(run_build: RunBuild) -> None:
    assert run_build(launcher=MPIRUN).returncode == 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_silent_build_is_stopped(run_build: RunBuild, tmp_path: Path, ranks: int) -> None:
    with pytest.raises(BuildStalled, match=r"for 2 s and was ended.*build\.log"):
        run_build(mode="hang-halfway", ranks=ranks, patience=replace(PATIENCE, silence=2))
    assert is_alone(tmp_path)


def test_a_slow_build_is_left_alone(run_build: RunBuild) -> None:
    # It takes longer than the limit, but its files keep growing.
    patience = replace(PATIENCE, silence=4)
    assert run_build(mode="grow-slowly", pause="1.2", ranks=1, patience=patience).returncode == 0


@pytest.mark.parametrize(
    ("mode", "ranks", "error", "message"),
    [
        ("crash", 1, BuildCrashed, r"exited with status 1: RuntimeError: .*any implementation"),
        ("crash", 2, BuildCrashed, r"exited with status 1: RuntimeError: .*any implementation"),
        ("forget-rank", 2, BuildIncomplete, r"ended, but rank1\.engine is missing"),
        (
            "truncate-rank",
            1,
            BuildIncomplete,
            r"rank0\.engine has \d+ bytes, but its weights alone",
        ),
        (
            "truncate-rank",
            2,
            BuildIncomplete,
            r"rank1\.engine has \d+ bytes, but its weights alone",
        ),
        ("kill-self", 1, OutOfMemory, r"needs about 4\.0 GB, this machine has [\d.]+ GB"),
        ("kill-worker", 2, OutOfMemory, r"needs about 8\.0 GB, this machine has [\d.]+ GB"),
        ("fill-disk", 1, DiskFull, r"no space left in .*choose another disk with --work-dir"),
        ("fill-disk", 2, DiskFull, r"no space left in .*choose another disk with --work-dir"),
        ("gpu-memory", 1, GpuMemoryFull, r"OutOfMemory \(Requested size was \d+ bytes"),
        ("no-driver", 1, NoGpu, r"libcuda\.so\.1"),
    ],
)
def test_every_failure_has_its_own_message(
    run_build: RunBuild, tmp_path: Path, mode: str, ranks: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_build(mode=mode, ranks=ranks)
    assert is_alone(tmp_path)
    assert (tmp_path / "logs" / "build.log").stat().st_size


def test_a_disk_too_full_for_the_log_is_the_reason(
    run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    with pytest.raises(BuildCrashed):
        run_build(program=silent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(DiskFull, match=r"has 0\.0 GB free now"):
        run_build(program=silent)


def test_a_machine_without_a_gpu_is_reported(run_build: RunBuild) -> None:
    with pytest.raises(NoGpu, match=r"or choose the gguf kind"):
        run_build(gpus="0")


def test_a_crash_after_everything_was_written_is_no_failure(
    run_build: RunBuild, tmp_path: Path, python: Path
) -> None:
    # MPI is known to abort at exit.
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n{python} "$@"\nexit 134\n')
    wrapper.chmod(0o755)
    assert run_build(ranks=1, program=wrapper).returncode == 134


def test_engines_of_an_earlier_build_do_not_count(run_build: RunBuild, tmp_path: Path) -> None:
    run_build(ranks=2)
    with pytest.raises(BuildIncomplete, match=r"rank1\.engine is missing"):
        run_build(ranks=2, mode="forget-rank")


def test_exit_status_0_without_config_json_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "rank0.engine").write_bytes(bytes(100))
    engines, config = [tmp_path / "rank0.engine"], tmp_path / "config.json"
    assert missing(engines, config, 100) == "config.json is missing"
    config.write_text('{"model_type": "qwen3"}')
    assert missing(engines, config, 100) == "config.json has no version"
    config.write_text('{"version": "1", "pretrained_config": {}, "build_config": {}}')
    assert missing(engines, config, 100) is None
    assert missing(engines, config, 1000) is not None
