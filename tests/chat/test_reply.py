from __future__ import annotations

import json

import pytest
from chat.speech import events_of, every_chunk_size, function, heard, pieces
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.events import Answer, Message, ToolCallArguments, ToolCallStart, collect
from enginix.chat.reply import ALL_MARKERS, PARSERS, REASONING, TOOLS, markers, reply_parser
from enginix.errors import EngineMismatch

FORMATS = [(reasoning, tools) for reasoning in (None, *REASONING) for tools in (None, *TOOLS)]
DEFINITIONS = (function("f", s={"type": "string"}, n={"type": "integer"}),)
# What formats are made of, and what breaks them, in any order.
FRAGMENTS = [
    *sorted(ALL_MARKERS),
    *("<function=f>", "</function>", "<parameter=s>", "<parameter=n>", "</parameter>", "<|python"),
    *('{"name": "f", "arguments": {', '"a": ', '"b"', "1.5e3", "-", "true", "nul", "}", "]", ","),
    *('{"name": "f", "parameters": {}}', '"\\ud83d', "\\ude00", "\\", '"', "{", "[", ";", ":"),
    *("\n", " ", "word", "é", "👋", "<", "</", "<think", "f", "[ARGS]{", '"name"'),
]
speech = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=25).map("".join)


@pytest.mark.parametrize(("reasoning", "tools"), FORMATS)
@given(text=speech, chunk=st.integers(1, 11), starts_inside=st.booleans())
def test_any_chunking_gives_the_same_message(
    text: str, chunk: int, starts_inside: bool, reasoning: str | None, tools: str | None
) -> None:
    how = {
        "reasoning": reasoning,
        "tools": tools,
        "starts_inside": starts_inside,
        "definitions": DEFINITIONS,
    }
    assert heard(text, chunk, **how) == heard(text, len(text) + 1, **how)


@pytest.mark.parametrize("tools", TOOLS)
@given(text=speech)
def test_every_call_has_an_id_a_name_and_an_object_or_invalid_json(text: str, tools: str) -> None:
    message = heard(text, 1, tools=tools, definitions=DEFINITIONS)
    assert len({call.id for call in message.tool_calls}) == len(message.tool_calls)
    for call in message.tool_calls:
        assert call.name.strip()
        if not call.whole:
            with pytest.raises(json.JSONDecodeError):
                json.loads(call.arguments)


@pytest.mark.parametrize("tools", TOOLS)
@given(text=speech)
def test_a_call_is_started_once_and_before_its_arguments(text: str, tools: str) -> None:
    started: list[int] = []
    for event in events_of(pieces(text, 2), tools=tools, definitions=DEFINITIONS):
        if isinstance(event, ToolCallStart):
            started.append(event.index)
        elif isinstance(event, ToolCallArguments):
            assert event.index == started[-1]
            assert event.fragment
    assert started == list(range(len(started)))


@given(text=st.text(st.characters(exclude_characters="<[{")))
@pytest.mark.parametrize(("reasoning", "tools"), FORMATS)
def test_plain_text_passes_unchanged(text: str, reasoning: str | None, tools: str | None) -> None:
    assert heard(text, 1, reasoning=reasoning, tools=tools) == Message(text, "", ())


@every_chunk_size
def test_without_formats_every_marker_is_text(chunk: int) -> None:
    text = "<think>a</think><tool_call>{}</tool_call>"
    assert heard(text, chunk, reasoning=None, tools=None) == Message(text, "", ())


def test_calls_in_a_request_without_tools_are_text() -> None:
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parser = reply_parser("think-tags", "hermes-json", tools_wanted=False)
    assert collect(parser.feed(text) + parser.finish()) == Message(text, "", ())


@every_chunk_size
def test_a_lone_angle_bracket_at_the_end_is_not_lost(chunk: int) -> None:
    assert heard("1 <", chunk) == Message("1 <", "", ())


@every_chunk_size
def test_white_space_alone_is_an_answer_too(chunk: int) -> None:
    assert heard(" \n ", chunk) == Message(" \n ", "", ())


@every_chunk_size
def test_leading_white_space_of_an_answer_stays(chunk: int) -> None:
    assert heard("\n\n  Hello", chunk) == Message("\n\n  Hello", "", ())


def test_each_chunk_of_an_answer_is_a_separate_event() -> None:
    parts = ["Par", "is", " is", " a < b", " big"]
    assert events_of(parts) == [Answer(part) for part in parts]


def test_a_chunk_without_text_causes_no_event() -> None:
    assert events_of(["a", "", "b"]) == [Answer("a"), Answer("b")]


def test_call_ids_are_unique_and_never_empty() -> None:
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parser = reply_parser(None, "hermes-json", tools_wanted=True)
    message = collect(parser.feed(text * 50) + parser.finish())
    ids = {call.id for call in message.tool_calls}
    assert len(ids) == 50
    assert all(name.startswith("call_") and len(name) > 20 for name in ids)


def test_the_tokens_a_format_needs_are_known() -> None:
    assert markers("think-tags", "mistral") == {
        "<think>",
        "</think>",
        "[TOOL_CALLS]",
        "[CALL_ID]",
        "[ARGS]",
    }
    assert markers(None, None) == frozenset()
    assert markers(None, "llama3-json") <= ALL_MARKERS


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineMismatch, match=r"'telepathy', this enginix knows .*think-tags"):
        reply_parser("telepathy", None)
    with pytest.raises(EngineMismatch, match=r"'think-tags', this enginix knows hermes-json"):
        reply_parser(None, "think-tags", tools_wanted=True)
    with pytest.raises(EngineMismatch, match="'telepathy'"):
        markers(None, "telepathy")


def test_a_format_is_either_for_reasoning_or_for_tools() -> None:
    assert len(PARSERS) == len(REASONING) + len(TOOLS)
