"""Requests a server's chat completions and turns its stream into the events of a reply.

The other source of these events is gateway/reply/generate.py; what writes them in a dialect does
not know which of the two it reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from enginix.backends.openai.choice import Choice
from enginix.backends.openai.connection import Connection
from enginix.backends.openai.negotiate import (
    drop_images,
    drop_reasoning,
    drop_token_limit,
    negotiated,
)
from enginix.backends.openai.server import OpenAIBackend, error_in_event
from enginix.backends.openai.sse import EventReader, data_of
from enginix.backends.openai.usage import ServerUsage, usage_of
from enginix.errors import BackendError, BackendUnavailable, EnginixError, GenerationFailed
from enginix.generation.reply import Arrived, Finished, Replies, ReplyEvent, ReplyFormat
from enginix.generation.request import Origin

CHAT = "/v1/chat/completions"
DONE = b"[DONE]"
# Time for a server to end a body after its last event, so that the connection can be reused.
LAST_CHUNK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A streamed chat completion to request, and how to read its text."""

    body: Mapping[str, Any]
    format: ReplyFormat
    choices: int = 1
    blind: Sequence[Mapping[str, Any]] | None = None
    """The messages without images, if they have any: the model may turn out to lack vision."""


async def chat_replies(
    server: OpenAIBackend, chat: ChatCompletion, origin: Origin, arrived: Sequence[Arrived]
) -> Replies:
    """All choices of `chat` as they arrive. Use `aclosing`: leaving it stops the server."""
    completion = Completion(chat.format, chat.choices, server.name)
    retries = (drop_token_limit, drop_reasoning, drop_images(chat.blind))
    async with negotiated(server, CHAT, chat.body, origin, retries, streams=True) as response:
        assert response is not None, "there is no fallback"
        events = EventReader()
        while not completion.over:
            chunk = await response.chunk()
            completion.read(data_of(events.feed(chunk) if chunk else events.finish()))
            for index, new_events, new_tokens in completion.take():
                if new_tokens:
                    arrived[index](new_tokens)
                if new_events:
                    yield index, new_events
            if not chunk:
                break
        if completion.ended:
            await read_to_end(response)
    for index, last, uncounted in completion.finish():
        if uncounted:
            arrived[index](uncounted)
        yield index, last


async def read_to_end(response: Connection) -> None:
    # The reply is complete: ignore any failure from here on.
    with suppress(TimeoutError, BackendError):
        async with asyncio.timeout(LAST_CHUNK_SECONDS):
            while await response.chunk():
                pass


class Completion:
    """All choices of one chat completion; `over` once nothing more is to be read."""

    def __init__(self, format: ReplyFormat, choices: int, name: str) -> None:
        self._choices = [Choice(format) for _ in range(choices)]
        self._name = name
        self._events: list[list[ReplyEvent]] = [[] for _ in range(choices)]
        self._counted = [0] * choices
        self._usage = ServerUsage()
        self.ended = False
        """The server has sent [DONE]."""
        self._failed: EnginixError | None = None

    @property
    def over(self) -> bool:
        # The usage comes after the last choice; a cut does not wait for it.
        return self.ended or (
            any(choice.cut for choice in self._choices)
            and all(choice.done for choice in self._choices)
        )

    def read(self, events: Iterable[bytes]) -> None:
        """Read the events' data; `take` still returns what came before a failure."""
        try:
            for data in events:
                self._read(data)
        except EnginixError as error:
            self._failed = error

    def _read(self, data: bytes) -> None:
        if data == DONE:
            self.ended = True
        if self.ended:
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            text = data[:200].decode(errors="replace")
            raise GenerationFailed(f"{self._name} sent an event that is no JSON: {text}") from None
        if not isinstance(chunk, dict):
            return
        if failure := error_in_event(self._name, chunk):
            raise failure
        if isinstance(chunk.get("usage"), dict):
            self._usage = usage_of(chunk)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._read_choice(choice)

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) and index > 0 else 0
        if 0 <= index < len(self._choices):
            self._events[index] += self._choices[index].read(choice)

    def take(self) -> Iterator[tuple[int, list[ReplyEvent], int]]:
        """Each choice's events since the last call, and the number of its chunks."""
        for index, choice in enumerate(self._choices):
            new = choice.chunks - self._counted[index]
            self._counted[index] = choice.chunks
            if self._events[index] or new:
                events, self._events[index] = self._events[index], []
                yield index, events, new
        if self._failed is not None:
            raise self._failed

    def finish(self) -> Iterator[tuple[int, list[ReplyEvent], int]]:
        """The last events; raises BackendUnavailable if the server left before them."""
        if not self.ended and not all(choice.done for choice in self._choices):
            raise BackendUnavailable(
                f"{self._name} ended its answer without saying that it was over"
            )
        for index, choice in enumerate(self._choices):
            events = choice.break_off()
            # The server counts all choices together.
            finished = self._finished(choice, first=index == 0)
            uncounted = finished.completion_tokens - sum(self._counted) if index == 0 else 0
            yield index, [*events, finished], max(0, uncounted)

    def _finished(self, choice: Choice, *, first: bool) -> Finished:
        prompt, total, reasoning, cached = self._usage
        if total is None:
            return choice.finished(choice.chunks, prompt, choice.reasoning_chunks, cached)
        if not first:
            return choice.finished(0, prompt, 0, cached)
        if reasoning is None and choice.chunks:
            # Exact if every chunk is one token, as usual.
            reasoning = round(total * choice.reasoning_chunks / choice.chunks)
        return choice.finished(total, prompt, reasoning or 0, cached)
