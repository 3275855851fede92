from __future__ import annotations

import re
from functools import partial

import pytest
from chat import speech
from chat.speech import calls, every_chunk_size

from enginix.chat.events import collect
from enginix.chat.reply import reply_parser

heard = partial(speech.heard, reasoning=None, tools="mistral")
ONE = ("get_weather", {"city": "[ARGS]"})


@every_chunk_size
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "[ARGS]"}}]', [ONE]),
        (
            '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "[ARGS]"}, "id": "a"}, '
            '{"name": "get_weather", "arguments": {"city": "[ARGS]"}}]',
            [ONE, ONE],
        ),
        ('[TOOL_CALLS]{"name": "get_weather", "arguments": {"city": "[ARGS]"}}', [ONE]),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "[ARGS]"}', [ONE]),
        ('[TOOL_CALLS]get_weather{"city": "[ARGS]"}', [ONE]),
        ('[TOOL_CALLS]get_weather[CALL_ID]abcDEF123[ARGS]{"city": "[ARGS]"}', [ONE]),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "[ARGS]"}' * 2, [ONE, ONE]),
        ("[TOOL_CALLS]a-b.c[ARGS]{}", [("a-b.c", {})]),
    ],
)
def test_both_ways_to_write_calls_are_read(text: str, expected: object, chunk: int) -> None:
    message = heard(text, chunk)
    assert calls(message) == expected
    assert message.content == ""


@every_chunk_size
def test_text_around_a_call_stays(chunk: int) -> None:
    message = heard("Let me look.[TOOL_CALLS]f[ARGS]{} Done.", chunk)
    assert (message.content, calls(message)) == ("Let me look. Done.", [("f", {})])


@every_chunk_size
@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("[TOOL_CALLS]I would rather not.", "I would rather not."),
        ("[TOOL_CALLS]f[ARGS]no json", "fno json"),
        ("[TOOL_CALLS]f[ARGS]", "f"),
        ("[TOOL_CALLS][1, 2]", "[1, 2]"),
        ("[TOOL_CALLS]", ""),
    ],
)
def test_text_that_is_not_a_call_has_no_special_tokens(text: str, content: str, chunk: int) -> None:
    message = heard(text, chunk)
    assert (message.content, message.tool_calls) == (content, ())


@every_chunk_size
def test_arguments_cut_off_or_broken_stay_open(chunk: int) -> None:
    assert calls(heard('[TOOL_CALLS]f[ARGS]{"a": ["b', chunk)) == [("f", '{"a": ["b')]
    assert calls(heard('[TOOL_CALLS]f[ARGS]{"a": [1 2]}', chunk)) == [("f", '{"a": [1')]


def test_ids_are_the_nine_characters_that_the_templates_demand() -> None:
    parser = reply_parser(None, "mistral", tools_wanted=True)
    message = collect(parser.feed("[TOOL_CALLS]f[ARGS]{}" * 20) + parser.finish())
    assert len({call.id for call in message.tool_calls}) == 20
    assert all(re.fullmatch("[A-Za-z0-9]{9}", call.id) for call in message.tool_calls)
