"""Malformed calls: the same with and without streaming, and nothing is invented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.scripted_triton import FORMATS

from tests.agents.conftest import Scripted
from tests.agents.spoken import THOUGHT, call_text
from tests.agents.test_cut import asked, every_dialect, every_model, runnable

pytestmark = pytest.mark.triton

VALUES = ("ls", "ends with </parameter> here.", '{"a": [1]}', "zwei\nZeilen ☀️", "")


def told(scripted: Scripted, path: str, model: str, text: str) -> tuple[Any, ...]:
    """A client's result, which must not depend on streaming."""
    scripted.triton.follow([{"say": text}])
    seen = []
    for stream in (True, False):
        heard = asked(scripted, path, model, stream=stream)
        names = [call.name for call in heard.calls] if runnable(heard) else []
        seen.append((heard.text, heard.thought, names, runnable(heard), heard.end))
    assert seen[0] == seen[1], text
    return seen[0]


@every_dialect
@every_model
def test_every_value_arrives_as_it_was_written(model: str, path: str, scripted: Scripted) -> None:
    for value in VALUES:
        text = call_text(FORMATS[model], "run", {"command": value})
        _, _, names, arguments, _ = told(scripted, path, model, text)
        assert (names, arguments) == (["run"], [{"command": value}])


@every_dialect
@every_model
def test_a_damaged_call_is_the_same_with_and_without_streaming(
    model: str, path: str, scripted: Scripted
) -> None:
    format = FORMATS[model]
    call = call_text(format, "run", {"command": "ls"})
    for text in (
        call.replace('"ls"', '"ls",').replace("\nls\n", "\nls"),
        call.replace('"', "'"),
        call[:-1],
        call.replace("}", "}}", 1),
        call + "\nThat was it.",
        call + "\n" + call,
        "I run it.\n" + call,
        THOUGHT + call,
        THOUGHT.replace("I look.", f"I would run {call}"),
        THOUGHT.partition("</think>")[0] + call,
        call.replace("run", "nobody"),
        call.replace('{"command": "ls"}', json.dumps('{"command": "ls"}')),
        call.replace("{", "{{", 1),
    ):
        _, _, _, arguments, _ = told(scripted, path, model, text)
        for found in arguments:
            assert isinstance(found, dict), text
            assert set(map(str, found.values())) <= {"ls", "'ls'"} or "" in found, text
