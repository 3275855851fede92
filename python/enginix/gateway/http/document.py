"""A reply as one JSON document: the concatenation of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from enginix.chat.events import Message, collect
from enginix.gateway.http.disconnect import unless_client_leaves
from enginix.gateway.http.scope import record_in
from enginix.gateway.http.sse import generated
from enginix.gateway.http.tally import UsageTally
from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.models.record import RequestRecord
from enginix.gateway.models.state import Gateway
from enginix.gateway.reply.parts import Part, Parts
from enginix.generation.reply import (
    Counted,
    Finished,
    Logprobs,
    ReplyEvent,
    TokenLogprob,
    Usage,
)


class WholeChoice:
    """One choice's events, collected."""

    def __init__(self, events: Sequence[ReplyEvent]) -> None:
        finished = events[-1]
        assert isinstance(finished, Finished), "every choice ends with it"
        self.finished = finished
        self._events = events
        self.logprobs: tuple[TokenLogprob, ...] = tuple(
            token for event in events if isinstance(event, Logprobs) for token in event.tokens
        )

    @property
    def message(self) -> Message:
        text = (
            each for each in self._events if not isinstance(each, Finished | Logprobs | Counted)
        )
        return collect(text)

    @property
    def parts(self) -> list[Part]:
        parts = Parts()
        for event in self._events:
            if isinstance(event, Logprobs):
                parts.add_logprobs(event.tokens)
            elif not isinstance(event, Finished | Counted):
                parts.add(event)
        return parts.all


class DocumentEncoder(Protocol):
    """Encodes a complete reply in one dialect."""

    def document(self, choices: Sequence[WholeChoice], usage: Usage) -> dict[str, Any]: ...


class WholeReply(Response):
    """Generates while it is sent, so that a disconnect cancels it like a stream."""

    media_type = "application/json"

    def __init__(
        self, gateway: Gateway, request: GenerationRequest, encoder: DocumentEncoder
    ) -> None:
        super().__init__()
        self._gateway = gateway
        self._request = request
        self._encoder = encoder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_in(scope)
        if await unless_client_leaves(receive, self._gather(record)):
            await super().__call__(scope, receive, send)
        else:
            record.client_left = True

    async def _gather(self, record: RequestRecord) -> None:
        tally = UsageTally(self._request)
        gathered: list[list[ReplyEvent]] = [[] for _ in range(self._request.choices)]
        try:
            async with (
                self._gateway.generating(self._request, record) as times,
                aclosing(generated(self._request, record, times)) as replies,
            ):
                async for choice, events in replies:
                    gathered[choice] += events
                    tally.read(choice, events)
                # Its key is charged when the request leaves this block.
                tally.note(record)
        except Exception as error:
            record.error = type(error).__name__
            raise
        choices = [WholeChoice(events) for events in gathered]
        self.body = orjson.dumps(self._encoder.document(choices, tally.usage))
        self.headers["content-length"] = str(len(self.body))
