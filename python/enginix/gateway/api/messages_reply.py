"""Anthropic's messages as bytes: named events with content blocks, or the whole message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from enginix.chat.events import Answer, Event, Reasoning
from enginix.chat.pieces import PlainEvents
from enginix.gateway.http.document import WholeChoice
from enginix.gateway.http.errors import Failure, anthropic_error
from enginix.gateway.http.nesting import is_deep
from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.reply.parts import Part, Parts
from enginix.generation.reply import (
    Counted,
    Finished,
    Logprobs,
    PlainBytes,
    ReplyEvent,
    Usage,
    constant,
)

dumps = orjson.dumps

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
# Kind of a part -> its delta's type and field; calls are the third.
DELTAS: dict[type[Event], tuple[str, str]] = {
    Answer: ("text_delta", "text"),
    Reasoning: ("thinking_delta", "thinking"),
}
CALL_DELTA = ("input_json_delta", "partial_json")
END = b"}}\n\n"


class MessageStream:
    """message_start, the blocks with their deltas, message_delta, message_stop."""

    def __init__(self, generation: GenerationRequest) -> None:
        self._generation = generation
        self._parts = Parts()
        self._open: Part | None = None
        self._delta = b""
        self._finished: Finished | None = None

    def begin(self) -> bytes:
        usage = {"input_tokens": self._generation.prompt_tokens, "output_tokens": 0}
        message = envelope(self._generation, [], None, usage)
        return event("message_start", {"message": message}) + event("ping", {})

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes:
        return b"".join([self._encode(event) for event in events])

    def plain(self, choice: int, events: PlainEvents) -> PlainBytes[bytes] | None:
        if self._parts.plain(events.kind) is None:
            return None
        return constant(events.texts(dumps), self._delta, END)

    def end(self, usage: Usage) -> bytes:
        delta = {
            "delta": stop_of(self._finished),
            "usage": counts(usage),
        }
        return self._close() + event("message_delta", delta) + event("message_stop", {})

    def fail(self, failure: Failure) -> bytes:
        return b"event: error\ndata: %b\n\n" % anthropic_error(failure)

    def _encode(self, event: ReplyEvent) -> bytes:
        if isinstance(event, Finished):
            self._finished = event
            return b""
        if isinstance(event, Logprobs | Counted):
            return b""
        part, text = self._parts.find(event)
        start = b"" if part is self._open else self._close() + self._begin(part)
        return start + self._delta + dumps(text) + END if text else start

    def _begin(self, part: Part) -> bytes:
        self._open = part
        kind, field = DELTAS.get(part.kind, CALL_DELTA)
        # Everything of a delta but its text.
        self._delta = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":' % (part.index, kind.encode(), field.encode())
        )
        block = block_of(part, "")
        return event("content_block_start", {"index": part.index, "content_block": block})

    def _close(self) -> bytes:
        part, self._open = self._open, None
        if part is None:
            return b""
        signed = b""
        if part.kind is Reasoning:
            signature = signature_of(self._generation, part)
            delta = {"type": "signature_delta", "signature": signature}
            signed = event("content_block_delta", {"index": part.index, "delta": delta})
        return signed + event("content_block_stop", {"index": part.index})


class MessageDocument:
    def __init__(self, generation: GenerationRequest) -> None:
        self._generation = generation

    def document(self, choices: Sequence[WholeChoice], usage: Usage) -> dict[str, Any]:
        (choice,) = choices
        # An input is an object: half of one cannot be shown, and must not be made up. A stream
        # shows how far it came.
        blocks = [
            block_of(part, part.text, signature_of(self._generation, part))
            for part in choice.parts
            if part.whole
        ]
        return envelope(self._generation, blocks, choice.finished, counts(usage))


def counts(usage: Usage) -> dict[str, int]:
    """In this dialect the three kinds of input tokens add up to the prompt's."""
    cached = usage.cached_tokens
    return {
        "input_tokens": usage.prompt_tokens - (cached or 0),
        "output_tokens": usage.completion_tokens,
        **({} if cached is None else {"cache_read_input_tokens": cached}),
    }


def envelope(
    generation: GenerationRequest,
    blocks: list[dict[str, Any]],
    finished: Finished | None,
    usage: dict[str, int],
) -> dict[str, Any]:
    return {
        "id": generation.id,
        "type": "message",
        "role": "assistant",
        "model": generation.model.name,
        "content": blocks,
        **stop_of(finished),
        "usage": {**usage, "cache_creation_input_tokens": 0},
    }


def stop_of(finished: Finished | None) -> dict[str, str | None]:
    if finished is None:
        return {"stop_reason": None, "stop_sequence": None}
    if finished.stop_string is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": finished.stop_string}
    return {"stop_reason": STOP_REASONS[finished.reason], "stop_sequence": None}


def block_of(part: Part, text: str, signature: str = "") -> dict[str, Any]:
    """A content block; a stream starts it without text."""
    if part.kind is Answer:
        return {"type": "text", "text": text}
    if part.kind is Reasoning:
        return {"type": "thinking", "thinking": text, "signature": signature}
    assert part.call is not None, "the third kind of part is a call"
    return {
        "type": "tool_use",
        "id": part.call.id,
        "name": part.call.name,
        "input": arguments_of(text) if text else {},
    }


def signature_of(generation: GenerationRequest, part: Part) -> str:
    """Signs nothing, but clients keep thinking by its signature and leave out what has none."""
    return f"{generation.id}-{part.index}"


def arguments_of(text: str) -> Any:
    """A call's complete arguments; if they are no usable JSON, their text under an empty key."""
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"": text}
    return {"": text} if is_deep(arguments) else arguments


def event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps({"type": name, **data}))
