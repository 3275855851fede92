"""A call truncated at any position, in every format and dialect, can never be executed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.scripted_triton import FORMATS

from tests.agents.conftest import Scripted
from tests.agents.heard import Heard, hear
from tests.agents.spoken import call_text

pytestmark = pytest.mark.triton

COMMAND = "rm -rf build/old"
WHOLE = {"command": COMMAND}
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
FUNCTION = {"name": "run", "parameters": SCHEMA}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": FUNCTION}],
        "max_tokens": 200,
    },
    "/v1/responses": {
        "input": "Hi",
        "tools": [{"type": "function", **FUNCTION}],
        "max_output_tokens": 200,
    },
    "/v1/messages": {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "run", "input_schema": SCHEMA}],
        "max_tokens": 200,
    },
}
BY_LIMIT = {"length", "max_tokens", "incomplete"}
BY_ITSELF = {"stop", "end_turn", "completed"}

every_model = pytest.mark.parametrize("model", FORMATS)
every_dialect = pytest.mark.parametrize("path", ASKED)
either_way = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


def asked(scripted: Scripted, path: str, model: str, *, stream: bool) -> Heard:
    return hear(scripted.client, path, {**ASKED[path], "model": model, "stream": stream}, {})


def runnable(heard: Heard) -> list[Any]:
    """The arguments with which a client would execute a call."""
    found = []
    for call in heard.calls:
        try:
            found.append(json.loads(call.arguments))
        except ValueError:
            continue
    return found


@either_way
@every_dialect
@every_model
def test_a_call_truncated_anywhere_cannot_be_executed(
    model: str, path: str, stream: bool, scripted: Scripted
) -> None:
    text = call_text(FORMATS[model], "run", WHOLE)
    for end in range(1, text.index(COMMAND) + len(COMMAND), 3):
        scripted.triton.follow([{"say": text[:end], "end": "length"}])
        heard = asked(scripted, path, model, stream=stream)
        assert not runnable(heard), text[:end]
        assert heard.end in BY_LIMIT, text[:end]


@either_way
@every_dialect
@every_model
def test_a_model_that_abandons_a_call_finishes_with_stop_and_no_call(
    model: str, path: str, stream: bool, scripted: Scripted
) -> None:
    text = call_text(FORMATS[model], "run", WHOLE)
    scripted.triton.follow([{"say": text[: text.index("/old")]}])
    heard = asked(scripted, path, model, stream=stream)
    assert not runnable(heard)
    assert heard.end in BY_ITSELF


@every_dialect
@every_model
def test_a_complete_call_that_ends_at_the_limit_is_a_call(
    model: str, path: str, scripted: Scripted
) -> None:
    text = call_text(FORMATS[model], "run", WHOLE)
    scripted.triton.follow([{"say": text, "end": "length"}])
    assert runnable(asked(scripted, path, model, stream=True)) == [WHOLE]
