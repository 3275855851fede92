"""A call in the reasoning counts if it is complete, known, and at the end."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest
from chat import speech
from chat.speech import calls, every_chunk_size, function, pieces
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.events import Message, Reasoning, collect
from enginix.chat.reply import REASONING, TOOLS, reply_parser

NOW = function("now", zone={"type": "string"})
CALLS = {
    "hermes-json": '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>',
    "llama3-json": '{"name": "now", "parameters": {"zone": "UTC"}}',
    "mistral": '[TOOL_CALLS]now[ARGS]{"zone": "UTC"}',
    "nemotron-json": '<TOOLCALL>[{"name": "now", "arguments": {"zone": "UTC"}}]</TOOLCALL>',
    "qwen3-xml": "<tool_call>\n<function=now>\n<parameter=zone>\nUTC\n</parameter>\n</function>\n"
    "</tool_call>",
}
TAGS = {"think-tags": ("<think>", "</think>"), "think-brackets": ("[THINK]", "[/THINK]")}
MEANT = [("now", {"zone": "UTC"})]
every_pair = pytest.mark.parametrize(("reasoning", "tools"), list(product(REASONING, TOOLS)))
heard = partial(speech.heard, definitions=[NOW])
hermes = partial(heard, reasoning="think-tags", tools="hermes-json")
CALL = CALLS["hermes-json"]


@every_pair
@every_chunk_size
@pytest.mark.parametrize("end", ["closed", "closed and spaced", "unclosed"])
def test_a_complete_call_at_the_end_is_a_call(
    end: str, chunk: int, reasoning: str, tools: str
) -> None:
    opening, closing = TAGS[reasoning]
    tail = {"closed": closing, "closed and spaced": f"\n{closing}\n\n", "unclosed": "\n"}[end]
    text = f"{opening}I will look. {CALLS[tools]}{tail}"
    message = heard(text, chunk, reasoning=reasoning, tools=tools)
    assert calls(message) == MEANT
    assert (message.reasoning, message.content) == ("I will look.", "")


@every_pair
@every_chunk_size
def test_a_call_followed_by_text_stays_reasoning(chunk: int, reasoning: str, tools: str) -> None:
    opening, closing = TAGS[reasoning]
    thought = f"I could write {CALLS[tools]}"
    read = partial(heard, chunk=chunk, reasoning=reasoning, tools=tools)
    answered = read(f"{opening}{thought}{closing}\n\nIt is late.")
    assert answered == Message("It is late.", thought, ())
    mused = read(f"{opening}{thought} but why{closing}\n\n")
    assert mused == Message("", f"{thought} but why", ())


@every_pair
@every_chunk_size
def test_the_call_after_the_reasoning_counts(chunk: int, reasoning: str, tools: str) -> None:
    opening, closing = TAGS[reasoning]
    text = f"{opening}Like {CALLS[tools]}?{closing}\n\n{CALLS[tools]}"
    message = heard(text, chunk, reasoning=reasoning, tools=tools)
    assert calls(message) == MEANT
    assert message.reasoning == f"Like {CALLS[tools]}?"
    text = f"{opening}Like {CALLS[tools]}{closing}\n\n{CALLS[tools]}"
    message = heard(text, chunk, reasoning=reasoning, tools=tools)
    assert calls(message) == MEANT
    assert message.reasoning == f"Like {CALLS[tools]}"


@every_chunk_size
@pytest.mark.parametrize(
    "thought",
    [
        "I should use <tool_call> and </tool_call> tags.",
        "The format is <tool_call>{name, arguments}</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "now", "arguments": {"zone": "U',
        '<tool_call>{"name": "now", "arguments": {"zone": 1 2}}</tool_call>',
        "<tool_call>",
        "<tool_call><tool_call> <tool",
        f"{CALL} or {CALL}?",
        f'{CALL}<tool_call>{{"name": "unknown", "arguments": {{}}}}</tool_call>',
        "a < b",
    ],
)
def test_tags_that_are_talked_about_stay_thought(thought: str, chunk: int) -> None:
    for closing in ("</think>", ""):
        assert hermes(f"<think>{thought}{closing}", chunk) == Message("", thought, ())


@every_chunk_size
def test_of_several_only_those_at_the_end_are_meant(chunk: int) -> None:
    message = hermes(f"<think>Like {CALL}. So: {CALL}\n{CALL}</think>", chunk)
    assert calls(message) == MEANT * 2
    assert message.reasoning == f"Like {CALL}. So:"


@every_chunk_size
def test_a_call_truncated_by_a_limit_stays_reasoning(chunk: int) -> None:
    parser = reply_parser("think-tags", "hermes-json", tools_wanted=True, definitions=[NOW])
    said = [each for part in pieces(f"<think>{CALL}", chunk) for each in parser.feed(part)]
    assert collect(said + parser.finish(cut=True)) == Message("", CALL, ())


@every_chunk_size
def test_without_a_known_function_there_is_no_call(chunk: int) -> None:
    message = speech.heard(f"<think>{CALL}</think>", chunk, tools="hermes-json")
    assert message == Message("", CALL, ())


def test_reasoning_flows_up_to_a_marker() -> None:
    parser = reply_parser("think-tags", "hermes-json", tools_wanted=True, definitions=[NOW])
    assert parser.feed("<think>a <") == [Reasoning("a")]
    assert parser.feed("b> c") == [Reasoning(" <b> c")]
    assert parser.feed(" <tool_call>") == []
    assert parser.feed(" is") == [Reasoning(" <tool_call> i"), Reasoning("s")]


FRAGMENTS = ["<think>", "</think>", "<tool_call>", "</tool_call>", CALL, '{"name": "now"', "}", " ",
             "\n", "word", "<", "</", *CALLS.values()]  # fmt: skip


@every_pair
@given(text=st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), chunk=st.integers(1, 9))
def test_any_chunking_of_thoughts_gives_the_same_message(
    text: str, chunk: int, reasoning: str, tools: str
) -> None:
    opening, _ = TAGS[reasoning]
    read = partial(heard, reasoning=reasoning, tools=tools)
    assert read(opening + text, chunk) == read(opening + text, 1000)
