from __future__ import annotations

from functools import partial

from chat import speech
from chat.speech import calls, every_chunk_size

heard = partial(speech.heard, tools="nemotron-json")


@every_chunk_size
def test_a_list_of_calls_is_read(chunk: int) -> None:
    text = (
        "I need both.\n</think>\n\n"
        '<TOOLCALL>[{"name": "f", "arguments": {"a": "]"}}, {"name": "g", "arguments": {}}]'
        "</TOOLCALL>\n"
    )
    message = heard(text, chunk, starts_inside=True)
    assert calls(message) == [("f", {"a": "]"}), ("g", {})]
    assert (message.reasoning, message.content) == ("I need both.", "")


@every_chunk_size
def test_a_list_cut_off_keeps_its_calls(chunk: int) -> None:
    text = '<TOOLCALL>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arg'
    message = heard(text, chunk)
    assert calls(message) == [("f", {"a": 1})]
    assert message.content == '{"name": "g", "arg'
