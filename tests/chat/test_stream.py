"""From token ids to events, with answers of the demo model."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

import pytest
from chat.speech import DEMO, RECORDINGS, every_chunk_size
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.events import Answer, Message, Reasoning, collect
from enginix.chat.reply import markers, reply_parser
from enginix.chat.stop import AnswerStop
from enginix.chat.stream import ReplyStream
from enginix.chat.tokens import Tokenizer

EVALS = json.loads((RECORDINGS / "demo-evals.json").read_text(encoding="utf-8"))
TOKENIZER = Tokenizer.load(DEMO)
FORMATS = ("think-tags", "hermes-json")


def reply_stream(stop: list[str], formats: tuple[str | None, str | None] = FORMATS) -> ReplyStream:
    numbers = count()
    parser = reply_parser(*formats, tools_wanted=True, new_id=lambda: f"call_{next(numbers)}")
    return ReplyStream(TOKENIZER.stream(keep=markers(*formats)), AnswerStop(stop), parser)


def read(ids: list[int], chunk: int, stop: list[str] | None = None, **how: Any) -> Message:
    stream = reply_stream(stop or [], **how)
    parts = [ids[start : start + chunk] for start in range(0, len(ids), chunk)]
    events = [event for part in parts for event in stream.feed(part)]
    return collect(events + stream.finish())


def spelled(answer: str) -> tuple[str, str]:
    """Split an evaluation's answer into reasoning and content in the simplest way."""
    text = answer.removesuffix("<|im_end|>")
    thought, _, rest = text.rpartition("</think>\n\n")
    text = re.sub(r"<tool_call>.*</tool_call>", "", rest, flags=re.DOTALL)
    return thought.removeprefix("<think>\n").removesuffix("\n"), text


@every_chunk_size
def test_every_evaluation_s_answer_is_heard(chunk: int) -> None:
    for case in EVALS:
        message = read(case["answer_ids"], chunk)
        assert (message.reasoning, message.content) == spelled(case["answer"])
        assert bool(message.tool_calls) == ("<tool_call>" in case["answer"])
        for call in message.tool_calls:
            assert json.loads(call.arguments)["city"]


@every_chunk_size
def test_a_stop_string_ends_the_answer_over_token_borders(chunk: int) -> None:
    ids = TOKENIZER.encode("<think>\nwell\n</think>\n\nThe capital of France is Paris. Really.")
    assert read(ids, chunk, ["is Par"]) == Message("The capital of France ", "well", ())


def test_the_stop_string_that_came_is_known() -> None:
    stream = reply_stream([". ", "never"])
    stream.feed(TOKENIZER.encode("One. Two."))
    assert stream.stopped_by == ". "


def test_text_held_in_every_step_comes_out_at_the_end() -> None:
    # A beginning of a stop string, which is one of a tag too; half a character is nothing.
    ids = TOKENIZER.encode("a <👋")[:-1]
    assert read(ids, 1, ["<b"]) == Message("a <", "", ())


def test_one_token_is_one_event() -> None:
    stream = reply_stream([])
    opening = TOKENIZER.encode("<think>")
    thought, answer = TOKENIZER.encode("I know that"), TOKENIZER.encode("Paris it is")
    heard = [stream.feed([token]) for token in [*opening, *thought]]
    assert [type(event) for events in heard[1:] for event in events] == [Reasoning] * len(thought)
    stream.feed(TOKENIZER.encode("</think>\n\n"))
    heard = [stream.feed([token]) for token in answer]
    assert [type(event) for events in heard for event in events] == [Answer] * len(answer)


@pytest.mark.parametrize("formats", [FORMATS, (None, None)])
@given(
    ids=st.lists(st.integers(0, TOKENIZER.vocabulary_size + 3), max_size=50),
    chunk=st.integers(1, 6),
    stop=st.lists(st.text("aeiou n.\n<t", min_size=1, max_size=3), max_size=3),
)
def test_any_tokens_in_any_chunks_give_one_message_without_stop_strings_and_special_tokens(
    ids: list[int], chunk: int, stop: list[str], formats: tuple[str | None, str | None]
) -> None:
    message = read(ids, chunk, stop, formats=formats)
    assert message == read(ids, len(ids) + 1, stop, formats=formats)
    for text in (message.content, message.reasoning):
        assert not re.search(r"<\|(im_start|im_end|endoftext|vision_\w+|box_\w+)\|>", text)
        # Taking a block out may bring two halves together, so only what is in one piece counts.
        assert formats != (None, None) or not any(string in text for string in stop)
    assert all(call.whole or call.arguments[:1] in "{" for call in message.tool_calls)


def test_a_special_token_that_the_model_spells_out_is_text() -> None:
    ids = [token for char in "<|im_end|>" for token in TOKENIZER.encode(char)]
    assert read(ids, 1).content == "<|im_end|>"
