"""Tokens are looked up where they may be, and events and bytes are the same as without."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import TOKENIZER, ids, served
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.events import Answer, Reasoning
from enginix.gateway.api.chat_reply import ChatStream
from enginix.gateway.api.completions_reply import CompletionStream
from enginix.gateway.api.messages_reply import MessageStream
from enginix.gateway.api.responses_body import ResponseBody
from enginix.gateway.api.responses_reply import ResponseStream
from enginix.gateway.http.sse import Delivering, StreamEncoder
from enginix.gateway.reply.choice import Choice
from enginix.gateway.reply.generate import TokenGeneration
from enginix.gateway.schema.responses import ResponseRequest
from enginix.generation.reply import Logprobs, ReplyEvent, ReplyFormat, Usage
from enginix.generation.request import Origin, TokenChunk, TokenRequest

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


class Flow:
    """Of a client that does not always keep up: whether it does, each time that is asked."""

    def __init__(self, paused: Sequence[bool]) -> None:
        self._paused = itertools.cycle(paused)

    @property
    def write_paused(self) -> bool:
        return next(self._paused)


class Written:
    def __init__(self, paused: Sequence[bool]) -> None:
        self.flow: Any = Flow(paused)
        self.parts: list[bytes] = []

    def write(self, body: bytes, before: bytes = b"", after: bytes = b"") -> None:
        self.parts.append(before + body + after)


# Calls and items have random ids, and time passes.
CHANGING = re.compile(rb'(call|rs|msg|fc|ctc|toolu)_\w+|_at":\d+|"created":\d+')
STREAMS: dict[str, Callable[[TokenGeneration], StreamEncoder]] = {
    "chat": ChatStream,
    "custom tools": lambda generation: ChatStream(generation, customs=frozenset({"look"})),
    "completions": CompletionStream,
    "messages": MessageStream,
    "responses": lambda generation: ResponseStream(
        ResponseBody("resp_1", generation.model, ResponseRequest(model="demo", input="Hi"))
    ),
}


async def written(
    stream: str, format: ReplyFormat, reply: list[int], together: int, body: Written | None
) -> tuple[bytes, int]:
    """The bytes of a reply, and how many tokens it is said to have."""
    generation = generated(format, reply, together)
    encoder = STREAMS[stream](generation)
    counts: list[int] = []
    delivering = Delivering(encoder) if body else None
    parts: list[bytes] = body.parts if body else []
    async for choice, events in generation.replies(Origin(), [counts.append], delivering):
        parts.append(encoder.encode(choice, events))
        if delivering is not None:
            delivering.body = body  # type: ignore[assignment]
    parts.append(encoder.end(Usage(1, sum(counts), 0)))
    return CHANGING.sub(b"", b"".join(parts)), sum(counts)


def generated(format: ReplyFormat, reply: Sequence[int] = (), together: int = 1) -> TokenGeneration:
    model = served(FakeBackend(reply, together=together))
    return TokenGeneration("id", model, (TokenRequest([1], 10_000),), format)


@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from(FORMATS),
    pieces,
    st.integers(1, 4),
    st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_bytes_that_are_looked_up_are_those_of_the_events(
    stream: str, format: ReplyFormat, texts: list[list[int]], together: int, paused: list[bool]
) -> None:
    reply = [token for text in texts for token in text]

    async def both() -> None:
        expected = await written(stream, format, reply, together, None)
        assert await written(stream, format, reply, together, Written(paused)) == expected

    asyncio.run(both())


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("together", [1, 2, 3])
def test_tokens_of_an_answer_need_no_encoding(stream: str, together: int) -> None:
    reading, generation = choice(ReplyFormat()), generated(ReplyFormat())
    encoder, other = STREAMS[stream](generation), STREAMS[stream](generation)
    first, *more = ids("Good morning to all")[: 1 + together]
    for each in (encoder, other):
        each.encode(0, choice(ReplyFormat()).read_ids([(first,)]))
    reading.read_ids([(first,)])
    assert reading.plain is not None
    found = encoder.plain(0, reading.plain)
    assert found is not None
    joined = found.before + found.join([found.texts[token] for token in more]) + found.after
    expected = other.encode(0, reading.read_plain([(token,) for token in more]) or [])
    assert CHANGING.sub(b"", joined) == CHANGING.sub(b"", expected)


@pytest.mark.parametrize("stream", ["messages", "responses"])
def test_a_part_of_an_answer_begins_with_an_event(stream: str) -> None:
    reading, encoder = choice(ReplyFormat()), STREAMS[stream](generated(ReplyFormat()))
    reading.read_ids([ids("Good")])
    assert reading.plain is not None
    assert encoder.plain(0, reading.plain) is None
    encoder.encode(0, [Reasoning("so")])
    assert encoder.plain(0, reading.plain) is None
    encoder.encode(0, [Answer("Good")])
    assert encoder.plain(0, reading.plain) is not None


@pytest.mark.parametrize("stream", ["chat", "completions", "responses"])
def test_a_token_that_comes_after_log_probabilities_is_encoded_with_them(stream: str) -> None:
    reading, encoder = choice(ReplyFormat()), STREAMS[stream](generated(ReplyFormat()))
    encoder.encode(0, [*reading.read_ids([ids("Good")]), Logprobs(({"token": " morning"},))])
    assert reading.plain is not None
    assert encoder.plain(0, reading.plain) is None


@pytest.mark.parametrize("stream", STREAMS)
async def test_what_is_read_while_a_client_does_not_keep_up_may_change_what_its_text_is(
    stream: str,
) -> None:
    format = ReplyFormat(reasoning="think-tags")
    reply = ids("<think>So it is, is it not?</think>A cat sat here, and so did I.")
    expected = await written(stream, format, reply, 1, None)
    for slow in range(len(reply)):
        body = Written([token == slow for token in range(len(reply))])
        assert await written(stream, format, reply, 1, body) == expected
