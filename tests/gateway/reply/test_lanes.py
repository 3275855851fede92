"""A lane changes no byte of an answer: whole streams in each dialect, from a Triton's bytes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

import pytest
from fakes.backend import FakeBackend
from fakes.hostile_http2 import (
    DATA,
    RST_STREAM,
    frame,
    response_headers,
    settings,
    tokens,
    trailers,
)
from gateway.harness import TOKENIZER, ids, served
from gateway.reply.test_choice import CALL, CHANGING, FORMATS, STREAMS, Written, pieces
from hypothesis import given
from hypothesis import strategies as st
from triton.client.http2.test_cuts import Wire

from enginix.errors import BackendError, BackendUnavailable, GenerationFailed
from enginix.gateway.http.errors import failure_of
from enginix.gateway.http.sse import Delivering
from enginix.gateway.reply.generate import TokenGeneration
from enginix.generation.limits import Limits
from enginix.generation.reply import ReplyFormat, Usage
from enginix.generation.request import Origin, TokenChunk, TokenRequest
from enginix.triton.client.http2.connection import Connection
from enginix.triton.client.responses import Reader

# The ids of a message each.
Messages = Sequence[Sequence[int]]
FAILURE = failure_of(GenerationFailed("it broke"))
TEXT = "Good morning, all of you: naïve, 😀. A cat sat here, and so did I."
END = frame(DATA, 0, 1, tokens(final=True)) + trailers(1)
BREAK = frame(RST_STREAM, 0, 1, bytes(4))


@dataclass
class Scripted(FakeBackend):
    """The long way: nothing is taken."""

    messages: Messages
    breaks: bool = False

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        for each in self.messages:
            yield [TokenChunk(tuple(each))]
        if self.breaks:
            raise BackendUnavailable("it broke")
        yield [TokenChunk((), final=True)]


@dataclass
class Fed(FakeBackend):
    """A stream of Triton's, whose reads a test feeds to `connection`."""

    def __post_init__(self) -> None:
        self.connection = Connection("fake:1", Limits(window_bytes=8 << 20), lambda: None)
        self.connection.connection_made(Wire())
        self.connection.data_received(settings())
        self.stream = self.connection.start(b"")

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        reader = Reader()
        assert request.take is not None, "it has a lane"
        offer = reader.offering(request.take, request.lane)
        chunks = reader.read(await self.stream.receive(9))
        while chunks:
            yield chunks
            if chunks[-1].final:
                return
            if reader.failure is not None:
                raise reader.failure
            chunks = reader.read(await self.stream.receive(9, offer, request.lane))


class Answer:
    """A stream of one dialect."""

    def __init__(
        self, stream: str, format: ReplyFormat, backend: FakeBackend, limit: int = 100_000
    ) -> None:
        request = TokenRequest([1], limit)
        self._generation = TokenGeneration("id", served(backend), (request,), format)
        self.encoder = STREAMS[stream](self._generation)
        self.tokens = 0
        self.parts: list[bytes] = []

    @property
    def seen(self) -> tuple[bytes, int]:
        """Its bytes, and how many tokens it is said to have."""
        return CHANGING.sub(b"", b"".join(self.parts)), self.tokens

    async def run(self, body: Written | None = None) -> None:
        delivering = Delivering(self.encoder) if body else None
        if body is not None:
            body.parts = self.parts
        replies = self._generation.replies(Origin(), [self._arrived], delivering)
        try:
            async with aclosing(replies):
                async for choice, events in replies:
                    self.parts.append(self.encoder.encode(choice, events))
                    if delivering is not None:
                        delivering.body = body  # type: ignore[assignment]
            self.parts.append(self.encoder.end(Usage(1, self.tokens, 0)))
        except BackendError:
            self.parts.append(self.encoder.fail(FAILURE))

    def _arrived(self, count: int) -> None:
        self.tokens += count


def sent(messages: Messages, end: bytes = END) -> bytes:
    """What Triton sends."""
    data = b"".join(frame(DATA, 0, 1, tokens(*each)) for each in messages)
    return response_headers(1) + data + end


async def in_lane(
    answer: Answer, backend: Fed, reads: Sequence[bytes], paused: Sequence[bool] = (False,)
) -> Answer:
    """The answer after these reads; its reader runs as far as it can after each."""
    running = asyncio.create_task(answer.run(Written(paused)))
    for each in reads:
        backend.connection.data_received(each)
        for _ in range(4):
            await asyncio.sleep(0)
    backend.connection.connection_lost(None)
    await running
    return answer


async def compare(
    stream: str,
    format: ReplyFormat,
    messages: Messages,
    reads: Sequence[bytes],
    *,
    paused: Sequence[bool] = (False,),
    breaks: bool = False,
    limit: int = 100_000,
) -> Answer:
    expected = Answer(stream, format, Scripted(messages, breaks), limit)
    await expected.run()
    backend = Fed()
    found = await in_lane(Answer(stream, format, backend, limit), backend, reads, paused)
    assert found.seen == expected.seen
    return found


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    reads = (data[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(data)]))
    return [each for each in reads if each]


# Single tokens as engines send them, some of which are cut characters, special, or of no
# vocabulary; and messages with several.
unknown = st.sampled_from([-1, -(1 << 31), (1 << 31) - 1, TOKENIZER.vocabulary_size])
messages = st.lists(
    st.one_of(
        pieces.map(lambda texts: [[token] for text in texts for token in text]),
        unknown.map(lambda token: [[token]]),
        st.sampled_from(["A cat", "é", CALL]).map(lambda text: [ids(text)]),
        st.just([[]]),
        st.just([[token] for token in ids(TEXT)]),
    ),
    max_size=4,
).map(lambda found: [each for part in found for each in part])


@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from(FORMATS),
    messages,
    st.lists(st.integers(0, 9000), max_size=25),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.booleans(),
)
def test_an_answer_has_the_same_bytes_however_it_is_cut_and_read(
    stream: str,
    format: ReplyFormat,
    messages: Messages,
    cuts: list[int],
    paused: list[bool],
    breaks: bool,
) -> None:
    reads = cut(sent(messages, BREAK if breaks else END), cuts)
    asyncio.run(compare(stream, format, messages, reads, paused=paused, breaks=breaks))


@pytest.mark.parametrize("stream", STREAMS)
async def test_ten_thousand_tokens_of_one_read_are_all_there(stream: str) -> None:
    messages = [[token] for token in ids(TEXT)] * 500
    head, *rest = cut(sent(messages), [len(sent(messages[:3], b""))])
    found = await compare(stream, ReplyFormat(), messages, [head, *rest])
    assert found.tokens == len(messages) > 10_000


@pytest.mark.parametrize("stream", STREAMS)
async def test_an_answer_whose_limit_is_reached_inside_a_read_was_cut(stream: str) -> None:
    messages = [[token] for token in ids(TEXT)]
    last = frame(DATA, 0, 1, tokens(*messages[-1], final=True)) + trailers(1)
    head = response_headers(1) + frame(DATA, 0, 1, tokens(*messages[0]))
    reads = [head, *(frame(DATA, 0, 1, tokens(*each)) for each in messages[1:5])]
    reads.append(sent(messages[5:-1], last).removeprefix(response_headers(1)))
    found = await compare(stream, ReplyFormat(), messages, reads, limit=len(messages))
    whole = await compare(stream, ReplyFormat(), messages, reads)
    assert found.seen != whole.seen


@pytest.mark.parametrize("stream", STREAMS)
async def test_what_follows_an_answers_end_is_not_of_it(stream: str) -> None:
    messages = [[token] for token in ids(TEXT)]
    last = frame(DATA, 0, 1, tokens(final=True))
    more = frame(DATA, 0, 1, tokens(*messages[1]))
    for end in (last + last, last + more, last + more + last):
        data = sent(messages, end + trailers(1))
        await compare(stream, ReplyFormat(), messages, [data])
        await compare(stream, ReplyFormat(), messages, cut(data, range(0, len(data), 90)))


LANES = [
    (stream, start)
    for stream in STREAMS
    for start in ("", "<think>")
    # They have no reasoning.
    if (stream, start) != ("completions", "<think>")
]


@pytest.mark.parametrize(("stream", "start"), LANES)
async def test_the_midst_of_an_answer_and_of_reasoning_goes_in_its_lane(
    stream: str, start: str
) -> None:
    backend = Fed()
    running = asyncio.create_task(Answer(stream, FORMATS[4], backend).run(Written([False])))
    backend.connection.data_received(response_headers(1))
    in_lane = 0
    for token in ids(start + "Good morning, all of you. A cat sat here."):
        in_lane += bool(backend.stream.head)
        backend.connection.data_received(frame(DATA, 0, 1, tokens(token)))
        await asyncio.sleep(0)
    backend.connection.data_received(END)
    await running
    assert in_lane > 5
