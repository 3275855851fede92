"""A small model's requests share memory, which grows when they need more of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL


@pytest.mark.triton
def test_requests_that_fill_the_memory_get_the_recorded_answers(
    runtime: Runtime, demo_engine: Path, evals: list[dict[str, Any]]
) -> None:
    longest = sorted(evals, key=lambda one: -len(one["prompt_ids"]))[:8]
    asked = [[one["prompt_ids"], one["answer_ids"][-1]] for one in longest]
    program = Path(__file__).with_name("shared_memory.py")
    command = [runtime.python, program, MODEL, demo_engine / "model.gguf"]
    done = subprocess.run(
        [*map(str, command)], input=json.dumps(asked), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == [one["answer_ids"][:-1] for one in longest]
    # One after another there is something to forget; four at once need what they have.
    assert sum(len(one["prompt_ids"]) for one in longest[4:]) > 512
    assert found["cells"] == [512, 512, 1024]
