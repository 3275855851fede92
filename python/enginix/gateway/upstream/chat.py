"""Asks another server's chat completions and reads its stream as the events of a reply.

The second source of events next to `gateway/reply/generate.py`; the code that writes them out in a
dialect does not know which of the two it was.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

from enginix.backends.http1_connection import Connection
from enginix.backends.openai import error_in_event, refusal
from enginix.errors import (
    BackendError,
    BackendUnavailable,
    EnginixError,
    GenerationFailed,
    RequestError,
)
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.prompt.request import Finished, RelayedAsk, ReplyEvent
from enginix.gateway.reply.generate import Replies
from enginix.gateway.upstream.choice import Choice
from enginix.gateway.upstream.question import IMAGES, REASONING, without_reasoning
from enginix.gateway.upstream.server_events import ServerEvents

CHAT = "/v1/chat/completions"
DONE = b"[DONE]"
WISHES_FOR_ROOM = ("max_tokens", "max_completion_tokens")
ROOM = ("context", "max_seq_len", "max_model_len")
# How servers refuse a picture that their model cannot see.
BLIND = re.compile(r"image|multi-?modal|vision|mmproj", re.IGNORECASE)
# What a server gets to end a body whose last event was here, so that its connection can be kept.
LAST_CHUNK_SECONDS = 0.1


async def chat_replies(
    ask: RelayedAsk, record: RequestRecord, times: Sequence[TokenTimes]
) -> Replies:
    """All choices of `ask` as they come. Use `aclosing`: leaving it ends the server's work."""
    completion = Completion(ask, ask.model.backend.name)
    async with answering(ask, record.id) as answer:
        events = ServerEvents()
        while not completion.over:
            piece = await answer.piece()
            completion.read(events.feed(piece) if piece else events.finish())
            for index, said, new in completion.take():
                if new:
                    times[index].arrived(new)
                if said:
                    yield index, said
            if not piece:
                break
        if completion.ended:
            await read_to_end(answer)
    for index, last, uncounted in completion.finish():
        if uncounted:
            times[index].arrived(uncounted)
        yield index, last


@asynccontextmanager
async def answering(ask: RelayedAsk, request_id: str) -> AsyncIterator[Connection]:
    """The answer, once it has begun. Raises what it says instead."""
    backend = ask.model.backend
    body = dict(ask.body)
    while True:
        async with backend.ask(CHAT, orjson.dumps(body), request_id, streams=True) as answer:
            if answer.status == 200:
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise GenerationFailed(f"{backend.name} was asked for a stream and sent none")
                yield answer
                return
            refused = refusal(backend.name, answer.status, await answer.read_error())
        changed = acceptable(ask, body, refused)
        if changed is None:
            raise refused
        body = changed


def acceptable(
    ask: RelayedAsk, body: dict[str, Any], refused: EnginixError
) -> dict[str, Any] | None:
    """The same question without what a server takes offence at and nobody would miss."""
    words = str(refused)
    if not isinstance(refused, RequestError | GenerationFailed):
        return None
    if any(name in words for name in WISHES_FOR_ROOM) and any(word in words for word in ROOM):
        # More tokens than fit are a wish for all there is: clients send the same number
        # whatever the prompt.
        less = {name: value for name, value in body.items() if name not in WISHES_FOR_ROOM}
        return less if len(less) < len(body) else None
    if REASONING in words and (messages := without_reasoning(body["messages"])) != body["messages"]:
        ask.model.backend.mark_unsupported(REASONING)
        return {**body, "messages": messages}
    if ask.blind is not None and ask.blind != body["messages"] and BLIND.search(words):
        ask.model.backend.mark_unsupported(IMAGES)
        return {**body, "messages": ask.blind}
    return None


async def read_to_end(answer: Connection) -> None:
    # Nothing that goes wrong now can take the answer back.
    with suppress(TimeoutError, BackendError):
        async with asyncio.timeout(LAST_CHUNK_SECONDS):
            while await answer.piece():
                pass


class Completion:
    """All choices of one chat completion; `over` when nothing more is to be read."""

    def __init__(self, ask: RelayedAsk, name: str) -> None:
        self._choices = [Choice(ask.format) for _ in ask.requests]
        self._name = name
        self._said: list[list[ReplyEvent]] = [[] for _ in ask.requests]
        self._counted = [0] * ask.choices
        self._usage: Mapping[str, Any] = {}
        self.ended = False
        """The server said so itself."""
        self._failed: EnginixError | None = None

    @property
    def over(self) -> bool:
        # The usage comes behind the last choice; after a cut nobody waits for it.
        return self.ended or (
            any(choice.cut for choice in self._choices)
            and all(choice.done for choice in self._choices)
        )

    def read(self, events: Sequence[bytes]) -> None:
        """What they say is there to be taken, all of it that came before a failure."""
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
            words = data[:200].decode(errors="replace")
            raise GenerationFailed(f"{self._name} sent an event that is no JSON: {words}") from None
        if not isinstance(chunk, dict):
            return
        if failure := error_in_event(self._name, chunk):
            raise failure
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._read_choice(choice)

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        index = number(choice.get("index")) or 0
        if 0 <= index < len(self._choices):
            self._said[index] += self._choices[index].read(choice)

    def take(self) -> Iterator[tuple[int, list[ReplyEvent], int]]:
        """What each choice said since the last time, and in how many pieces."""
        for index, choice in enumerate(self._choices):
            new = choice.pieces - self._counted[index]
            self._counted[index] = choice.pieces
            if self._said[index] or new:
                said, self._said[index] = self._said[index], []
                yield index, said, new
        if self._failed is not None:
            raise self._failed

    def finish(self) -> Iterator[tuple[int, list[ReplyEvent], int]]:
        """The last events; raises BackendUnavailable when the server left before them."""
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
        total = number(self._usage.get("completion_tokens"))
        prompt = number(self._usage.get("prompt_tokens"))
        details = self._usage.get("completion_tokens_details")
        reasoning = number(details.get("reasoning_tokens")) if isinstance(details, dict) else None
        if total is None:
            return choice.finished(choice.pieces, prompt, choice.reasoning_pieces)
        if not first:
            return choice.finished(0, prompt, 0)
        if reasoning is None and choice.pieces:
            # Exact where a piece is a token, which is the rule.
            reasoning = round(total * choice.reasoning_pieces / choice.pieces)
        return choice.finished(total, prompt, reasoning or 0)


def number(value: Any) -> int | None:
    """A count; some servers say -1 where they do not know."""
    return value if type(value) is int and value >= 0 else None
