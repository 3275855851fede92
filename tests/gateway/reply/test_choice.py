"""A choice reads tokens by a look-up where it may, and events are the same as without."""

from __future__ import annotations

import pytest
from fakes.backend import FakeBackend
from gateway.harness import TOKENIZER, ids, served
from hypothesis import given
from hypothesis import strategies as st

from enginix.gateway.reply.choice import Choice
from enginix.generation.reply import ReplyEvent, ReplyFormat
from enginix.generation.request import TokenChunk, TokenRequest

FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {}}}
FORMATS = (
    ReplyFormat(),
    ReplyFormat(reasoning="think-tags"),
    ReplyFormat(reasoning="think-tags", starts_inside=True),
    ReplyFormat(tools="hermes-json", definitions=(FUNCTION,)),
    ReplyFormat(reasoning="think-tags", tools="hermes-json", definitions=(FUNCTION,)),
    ReplyFormat(reasoning="think-tags", stop=("cat", "\n\n")),
    ReplyFormat(tools="hermes-json", definitions=(FUNCTION,), one_call=True),
    ReplyFormat(counts=True),
)
CALL = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'
TEXTS = ("A cat", " sat", "\n\n", "<", "<think>", " so </think>", CALL, CALL[:20], "é", "😀", " ")
# Some of these are bytes of a character, some special, and some beyond the vocabulary.
tokens = st.integers(0, TOKENIZER.vocabulary_size + 3).map(lambda token: [token])
pieces = st.lists(st.one_of(st.sampled_from(TEXTS).map(ids), tokens), max_size=12)


def choice(format: ReplyFormat) -> Choice:
    return Choice(served(FakeBackend()), format, TokenRequest([1], 10_000))


@given(st.sampled_from(FORMATS), pieces, st.integers(1, 4))
def test_tokens_that_are_looked_up_make_the_same_events(
    format: ReplyFormat, texts: list[list[int]], together: int
) -> None:
    slow, fast = choice(format), choice(format)
    reply = [token for text in texts for token in text]
    expected: list[ReplyEvent] = []
    found: list[ReplyEvent] = []
    for start in range(0, len(reply), together):
        arrivals = [(token,) for token in reply[start : start + together]]
        expected += slow.read([TokenChunk(each) for each in arrivals])
        events = fast.read_plain(arrivals)
        found += fast.read_ids(arrivals) if events is None else events
        if slow.done:
            break
    if not slow.done:
        expected += slow.read([TokenChunk((), final=True)])
        found += fast.read([TokenChunk((), final=True)])
    assert _without_ids(found) == _without_ids(expected)
    assert (fast.tokens, fast.reasoning_tokens) == (slow.tokens, slow.reasoning_tokens)


@pytest.mark.parametrize("format", FORMATS[1:5])
@pytest.mark.parametrize("start", ["", "<think>"])
def test_the_midst_of_an_answer_and_of_reasoning_is_looked_up(
    format: ReplyFormat, start: str
) -> None:
    reading = choice(format)
    looked_up = 0
    for token in ids(start + "Good morning, all of you. A cat sat here."):
        if reading.read_plain([(token,)]) is None:
            reading.read_ids([(token,)])
        else:
            looked_up += 1
    assert looked_up > 5


def _without_ids(events: list[ReplyEvent]) -> list[object]:
    """Calls have random ids."""
    return [(event.index, event.name) if hasattr(event, "id") else event for event in events]
