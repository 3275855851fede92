"""Where llama.cpp uses all cores, each of its threads keeps to one of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from threads import cores

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL

pytestmark = pytest.mark.triton

ALL = sorted(os.sched_getaffinity(0))
CORES = [sorted(core) for core in cores()]
several_cores = pytest.mark.skipif(len(CORES) < 2, reason="this machine has one core")


def placed(runtime: Runtime, engine: Path, threads: int) -> list[dict[str, Any]]:
    """Of a shallow step, a deep one, and a shallow one."""
    program = Path(__file__).with_name("placed_threads.py")
    command = [runtime.python, program, MODEL, engine / "model.gguf", threads]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@several_cores
def test_each_thread_has_a_core_where_there_is_one_for_each(
    runtime: Runtime, demo_engine: Path
) -> None:
    expected = {"own": CORES[0], "made": sorted(CORES[1:])}
    assert placed(runtime, demo_engine, len(CORES)) == [expected] * 3


@several_cores
def test_a_small_models_one_thread_runs_anywhere_but_in_its_deep_steps(
    runtime: Runtime, demo_engine: Path
) -> None:
    shallow, deep, after = placed(runtime, demo_engine, 0)
    assert shallow == {"own": ALL, "made": []}
    assert deep == {"own": CORES[0], "made": sorted(CORES[1:])}
    assert after["own"] == ALL


@pytest.mark.parametrize("threads", {1, len(CORES) + 1} - {len(CORES)})
def test_threads_that_are_not_one_for_each_core_run_anywhere(
    runtime: Runtime, demo_engine: Path, threads: int
) -> None:
    for step in placed(runtime, demo_engine, threads):
        assert step == {"own": ALL, "made": [ALL] * (threads - 1)}
