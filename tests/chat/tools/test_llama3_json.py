from __future__ import annotations

from functools import partial

import pytest
from chat import speech
from chat.speech import calls, every_chunk_size

from enginix.chat.events import Answer, Message, collect
from enginix.chat.reply import reply_parser

heard = partial(speech.heard, reasoning=None, tools="llama3-json")
CALL = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
ONE = ("get_weather", {"city": "Paris"})


@every_chunk_size
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALL, [ONE]),
        (f"\n{CALL}\n", [ONE]),
        (f"<|python_tag|>{CALL}", [ONE]),
        (f"{CALL}; {CALL}", [ONE, ONE]),
        (f"{CALL}\n{CALL}", [ONE, ONE]),
        (f"<|python_tag|>{CALL}<|python_tag|>{CALL}", [ONE, ONE]),
        ('{"type": "function", "name": "f", "parameters": {}}', [("f", {})]),
    ],
)
def test_bare_json_with_a_name_and_parameters_is_a_call(
    text: str, expected: object, chunk: int
) -> None:
    message = heard(text, chunk)
    assert calls(message) == expected
    assert message.content == ""


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Paris", "name": "x", "parameters": {}}',
        '{"name": "Ada", "born": 1815}',
        "{}",
        "{",
        "{not json}",
        f"Use {CALL} to call it.",
    ],
)
def test_an_answer_with_json_in_it_stays_an_answer(text: str, chunk: int) -> None:
    assert heard(text, chunk) == Message(text, "", ())


def test_json_that_is_not_a_call_streams_as_soon_as_that_is_clear() -> None:
    parser = reply_parser(None, "llama3-json", tools_wanted=True)
    assert parser.feed('{"city') == []
    assert collect(parser.feed('": "Pa')).content == '{"city": "Pa'
    assert parser.feed("ris") == [Answer("ris")]


@every_chunk_size
def test_code_after_the_python_tag_is_text_without_the_tag(chunk: int) -> None:
    assert heard("<|python_tag|>import os", chunk).content == "import os"


@every_chunk_size
def test_text_after_a_call_stays(chunk: int) -> None:
    message = heard(f"{CALL}\nThat is the weather.", chunk)
    assert calls(message) == [ONE]
    assert message.content == "That is the weather."
