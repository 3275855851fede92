"""When llama.cpp fails every client is told, and who can go on does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL

pytestmark = pytest.mark.triton

PROGRAM = Path(__file__).with_name("faulty_engine.py")
FIRST_ANSWER_STEP = 3


def run(runtime: Runtime, engine: Path, fault: str, step: int) -> dict[str, Any]:
    command = [runtime.python, PROGRAM, MODEL, engine / "model.gguf", fault, step]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def sound(runtime: Runtime, demo_engine: Path) -> Any:
    """The answer of an engine to which nothing happens."""
    return run(runtime, demo_engine, "code", 0)["after"]


def test_a_step_that_fails_ends_the_requests_in_it_with_the_reason(
    runtime: Runtime, demo_engine: Path
) -> None:
    found = run(runtime, demo_engine, "code", FIRST_ANSWER_STEP)
    assert found["running"] == ["llama.cpp could not decode the request (code -2)"] * 2


def test_after_a_step_that_failed_the_others_are_answered_rightly(
    runtime: Runtime, demo_engine: Path, sound: list[int]
) -> None:
    found = run(runtime, demo_engine, "code", FIRST_ANSWER_STEP)
    assert found["waiting"] == found["after"] == sound


def test_an_engine_that_breaks_answers_everybody_with_the_reason(
    runtime: Runtime, demo_engine: Path
) -> None:
    found = run(runtime, demo_engine, "exception", FIRST_ANSWER_STEP)
    for answer in [*found["running"], found["waiting"], found["after"]]:
        assert answer.startswith("the engine has failed and cannot go on: OSError")
