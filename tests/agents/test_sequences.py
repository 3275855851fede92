"""Replays the requests of coding agents and chat pages: one call, one result, one answer."""

from __future__ import annotations

import json

import pytest
from fakes.scripted_triton import FORMATS

from tests.agents.conftest import Scripted
from tests.agents.heard import Heard, hear
from tests.agents.sequences import EDIT, EDITED, RECORDINGS, SEQUENCES, Sequence
from tests.agents.spoken import thinks

pytestmark = pytest.mark.triton

CALLED = {"tool_calls", "tool_use", "completed"}
ENDED = {"stop", "end_turn", "completed"}
every_format = pytest.mark.parametrize("model", FORMATS)
every_sequence = pytest.mark.parametrize(
    "sequence", SEQUENCES, ids=[sequence.recording for sequence in SEQUENCES]
)


def play(scripted: Scripted, sequence: Sequence, model: str) -> list[Heard]:
    """Send the requests in order, each with the id of the call."""
    heard: list[Heard] = []
    for request in sequence.requests():
        call_id = next((call.id for one in heard for call in one.calls), "CALL_ID")
        body = json.loads(json.dumps(request["body"]).replace("CALL_ID", call_id))
        body["model"] = model
        heard.append(hear(scripted.client, request["path"], body, request["headers"]))
    return heard


@every_format
@every_sequence
def test_an_agent_gets_its_call_and_after_the_result_its_answer(
    sequence: Sequence, model: str, scripted: Scripted
) -> None:
    scripted.triton.follow(sequence.script(FORMATS[model]))
    heard = play(scripted, sequence, model)
    (called,) = [one for one in heard if one.calls]
    (answered,) = [one for one in heard if one.text == sequence.last_words]
    assert heard.index(called) < heard.index(answered)
    (call,) = called.calls
    assert (call.name, call.namespace) == (sequence.called or sequence.tool, sequence.namespace)
    assert json.loads(call.arguments) == sequence.arguments
    thought = thinks(FORMATS[model]) and "I look."
    assert (called.text, called.thought.strip()) == ("", thought)
    assert called.end in CALLED
    assert answered.end in ENDED
    assert not answered.calls


def test_an_edit_that_is_written_as_text_arrives_as_it_was_written(scripted: Scripted) -> None:
    file = RECORDINGS / "aider.json"
    (request,) = json.loads(file.read_text(encoding="utf-8"))["requests"]
    said = "<think>\nI look.\n</think>\n\n" + EDITED
    scripted.triton.follow([{"prompt": EDIT, "say": said}])
    heard = hear(scripted.client, request["path"], request["body"], request["headers"])
    assert (heard.text, heard.end) == (EDITED, "stop")
