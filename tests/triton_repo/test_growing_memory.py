"""A small model's memory grows when a request needs more of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL


@pytest.mark.triton
def test_requests_that_outgrow_the_memory_get_the_answers_they_get_with_enough_of_it(
    runtime: Runtime, demo_engine: Path, evals: list[dict[str, Any]]
) -> None:
    # The first four outgrow it in the middle of the answer, the others in that of the prompt.
    prompts = [one["prompt_ids"] * (240 // len(one["prompt_ids"])) for one in evals[:4]]
    prompts += [one["prompt_ids"] * (800 // len(one["prompt_ids"])) for one in evals[4:8]]
    asked = json.dumps([[prompt, 2014] for prompt in prompts])
    program = Path(__file__).with_name("growing_memory.py")
    command = [str(runtime.python), str(program), str(MODEL), f"{demo_engine}/model.gguf"]

    def run(room: int) -> dict[str, Any]:
        done = subprocess.run(
            [*command, str(room)], input=asked, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    roomy, tight = run(1024), run(256)
    assert tight["answers"] == roomy["answers"]
    assert roomy["rooms"] == [1024] * 3
    assert tight["rooms"] == [256, 512, 1024]
    # More memory is new memory: what a prompt found in the old one is read again.
    assert max(roomy["reused"][4:]) > 0
    assert tight["reused"][4:] == [0, 0, 0, 0]
