from __future__ import annotations

import pytest
from chat.speech import calls, events_of, every_chunk_size, heard

from enginix.chat.events import Message, ToolCallArguments, ToolCallStart

WEATHER = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
CALL = f"<tool_call>\n{WEATHER}\n</tool_call>"


@every_chunk_size
def test_a_call_is_not_text(chunk: int) -> None:
    message = heard(CALL, chunk)
    assert calls(message) == [("get_weather", {"city": "Paris"})]
    assert message.content == ""


@every_chunk_size
def test_text_before_between_and_after_calls_stays(chunk: int) -> None:
    message = heard(f"Let me look.\n{CALL}\nAnd more:\n{CALL}\n\nDone.", chunk)
    assert message.content == "Let me look.\nAnd more:\nDone."
    assert len(message.tool_calls) == 2


@every_chunk_size
def test_reasoning_and_calls_come_together(chunk: int) -> None:
    message = heard(f"<think>\nThe tool knows.\n</think>\n\n{CALL}", chunk)
    assert (message.content, message.reasoning) == ("", "The tool knows.")
    assert len(message.tool_calls) == 1


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        f"{CALL}{CALL}",
        f"{CALL}\n{CALL}",
        f"<tool_call>\n{WEATHER}\n{WEATHER}\n</tool_call>",
        f"<tool_call>[{WEATHER}, {WEATHER}]</tool_call>",
        f"<tool_call>\n{WEATHER}\n<tool_call>\n{WEATHER}\n</tool_call>",
        f"<tool_call>\n{WEATHER}\n<tool_call>\n{WEATHER}",
    ],
)
def test_parallel_calls_are_heard_however_they_are_separated(text: str, chunk: int) -> None:
    message = heard(text, chunk)
    assert calls(message) == [("get_weather", {"city": "Paris"})] * 2
    assert message.content == ""


@every_chunk_size
@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"arguments": {"a": 1}, "name": "f"}', {"a": 1}),
        ('{"name": "f", "parameters": {"a": 1}}', {"a": 1}),
        ('{"id": 7, "type": "function", "name": "f", "arguments": {"a": 1}, "x": []}', {"a": 1}),
        ('{"name": "f"}', {}),
        ('{"name": "f", "arguments": null}', {}),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"name": "f", "arguments": ""}', {}),
        ('{"name": "f", "arguments": " "}', {}),
        ('{"name": "f", "arguments": "{\\"a\\": 1"}', {"": '{"a": 1'}),
        ('{"name": "f", "arguments": "Paris"}', {"": "Paris"}),
        ('{"name": "f", "arguments": [1, 2]}', {"": [1, 2]}),
        ('{"name": "f", "arguments": 5}', {"": 5}),
        ('{"name": "f", "arguments": {"a": "</tool_call>"}}', {"a": "</tool_call>"}),
        ('{"name": "f", "arguments": {"a": 1}', {"a": 1}),
        ('{"name": "f", "arguments": {"a": 1}}}', {"a": 1}),
        ('{"name": "f", "arguments": {"a": 1}, "arguments": {"b": 2}}', {"a": 1}),
        ('{"name": "f", "name": "g", "arguments": {"a": 1}}', {"a": 1}),
    ],
)
def test_a_call_is_understood_as_models_write_it(body: str, arguments: object, chunk: int) -> None:
    message = heard(f"<tool_call>\n{body}\n</tool_call>", chunk)
    assert calls(message) == [("f", arguments)]
    assert message.content == ""


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{'name': 'f'}</tool_call>",
        "<tool_call>\nget_weather(Paris)\n</tool_call> sorry",
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        '<tool_call>{"name": " ", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {"a": 1}}</tool_call>',
        "<tool_call></tool_call>",
        "<tool_call>[]</tool_call>",
        '<tool_call>{"name": "get_wea',
        "<tool_call>",
    ],
)
def test_text_that_is_not_a_call_stays_complete(text: str, chunk: int) -> None:
    assert heard(text, chunk) == Message(text, "", ())


@every_chunk_size
def test_arguments_cut_off_stay_open(chunk: int) -> None:
    message = heard('<tool_call>{"name": "f", "arguments": {"a": {"b": "Par', chunk)
    assert calls(message) == [("f", '{"a": {"b": "Par')]


@every_chunk_size
def test_an_object_left_open_before_the_closing_tag_stays_open(chunk: int) -> None:
    message = heard('<tool_call>{"name": "f", "arguments": {"a": [1\n</tool_call>', chunk)
    assert calls(message) == [("f", '{"a": [1')]


@every_chunk_size
def test_arguments_that_break_off_stay_open_and_lose_no_text(chunk: int) -> None:
    message = heard('<tool_call>{"name": "f", "arguments": {"a": 1 oops', chunk)
    assert calls(message) == [("f", '{"a": 1')]
    assert message.content == "oops"


@every_chunk_size
def test_a_second_object_that_is_not_a_call_is_text(chunk: int) -> None:
    message = heard(f"<tool_call>{WEATHER}{{'bad'}}</tool_call>", chunk)
    assert len(message.tool_calls) == 1
    assert message.content == "{'bad'}</tool_call>"


def test_arguments_stream_as_the_model_writes_them() -> None:
    parts = [
        '<tool_call>\n{"name": "f", "argu',
        'ments": {"a": "He',
        "llo",
        '"}}',
        "\n</tool_call>",
    ]
    assert events_of(parts) == [
        ToolCallStart(0, "call_0", "f"),
        ToolCallArguments(0, '{"a": "He'),
        ToolCallArguments(0, "llo"),
        ToolCallArguments(0, '"}'),
    ]
