"""LiteLLM's client against the whole stack, if a Python with LiteLLM is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton

PROGRAM = Path(__file__).with_name("litellm_program.py")
PYTHON = os.environ.get("ENGINIX_LITELLM_PYTHON", sys.executable)
# Without the first variable it downloads a list of prices.
ENVIRONMENT = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""}


@pytest.fixture(scope="module")
def answers(gateway: RunningGateway) -> dict[str, Any]:
    here = subprocess.run([PYTHON, "-c", "import litellm, mcp"], capture_output=True, check=False)
    if here.returncode:
        pytest.skip(f"{PYTHON} has no litellm and mcp; name one that has in ENGINIX_LITELLM_PYTHON")
    done = subprocess.run(
        [PYTHON, str(PROGRAM), gateway.url],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_a_chat_has_its_reasoning_its_answer_and_its_counts(
    answers: dict[str, Any], how: str
) -> None:
    content, reasoning, tokens = answers[how]
    assert content == "The capital of France is Paris."
    assert "I know that it is Paris" in reasoning
    assert tokens == 31


def test_a_tool_call_makes_its_round_trip(answers: dict[str, Any]) -> None:
    first, arguments, second = answers["called"]
    assert (first, json.loads(arguments), second) == ("tool_calls", {"city": "Paris"}, "stop")


def test_a_streamed_tool_call_is_assembled(answers: dict[str, Any]) -> None:
    reason, arguments = answers["streamed_call"]
    assert (reason, json.loads(arguments)) == ("tool_calls", {"city": "Paris"})


def test_a_response_has_its_items(answers: dict[str, Any]) -> None:
    assert answers["response"] == ["completed", ["reasoning", "message"]]


def test_anthropics_dialect_works_too(answers: dict[str, Any]) -> None:
    assert answers["through_anthropic"] == "The capital of France is Paris."


def test_refusals_are_the_clients_own_exceptions(answers: dict[str, Any]) -> None:
    assert answers["refused"] == ["NotFoundError", "BadRequestError"]
