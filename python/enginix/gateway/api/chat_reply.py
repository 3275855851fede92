"""Chat completions as bytes: chunks of a stream, or the whole of it.

A chunk is constant but for its delta, so what is around it is made once per choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from enginix.chat.events import (
    Answer,
    Event,
    Reasoning,
    ToolCall,
    ToolCallArguments,
    ToolCallStart,
)
from enginix.chat.pieces import PlainEvents
from enginix.gateway.api.custom_input import whole_input
from enginix.gateway.api.openai_reply import ChunkStream, Tails, document
from enginix.gateway.http.document import WholeChoice
from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.schema.fields import StreamOptions
from enginix.generation.reply import (
    Counted,
    Finished,
    Logprobs,
    PlainBytes,
    ReplyEvent,
    TokenLogprob,
    Usage,
    constant,
)

dumps = orjson.dumps

ANSWER, REASONING = b'"content":', b'"reasoning_content":'


class ChatStream(ChunkStream):
    object = "chat.completion.chunk"

    def __init__(
        self,
        generation: GenerationRequest,
        options: StreamOptions | None = None,
        customs: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(generation, options)
        self._choices = [
            ChoiceChunks(self.head, index, self.tails, customs)
            for index in range(generation.choices)
        ]

    def begin(self) -> bytes:
        return b"".join(choice.role() for choice in self._choices)

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes:
        chunks = self._choices[choice]
        if len(events) == 1:
            return chunks.encode(events[0])
        return b"".join([chunks.encode(event) for event in events])

    def plain(self, choice: int, events: PlainEvents) -> PlainBytes[bytes] | None:
        return self._choices[choice].plain(events)


class ChoiceChunks:
    """The chunks of one choice."""

    def __init__(self, head: bytes, index: int, tails: Tails, customs: frozenset[str]) -> None:
        self._before = b'%b,"choices":[{"index":%d,"delta":{' % (head, index)
        self._tails = tails
        self._end_with(tails.first)
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._customs = customs
        self._custom: ToolCallStart | None = None
        """A call of a custom tool, sent when it is whole: clients would run a part of it, too."""
        self._arguments = ""

    def role(self) -> bytes:
        return b'%b"role":"assistant","content":""%b' % (self._before, self._after)

    def encode(self, event: ReplyEvent) -> bytes:
        if self._custom is not None:
            return self._encode_custom(self._custom, event)
        kind = event.__class__
        if kind is Answer and not self._logprobs:
            text = dumps(event.text)  # type: ignore[union-attr]
            return self._before + ANSWER + text + self._after
        if kind is Reasoning and not self._logprobs:
            text = dumps(event.text)  # type: ignore[union-attr]
            return self._before + REASONING + text + self._after
        return self._encode_other(event)

    def plain(self, events: PlainEvents) -> PlainBytes[bytes] | None:
        if self._custom is not None or self._logprobs:
            return None
        before = self._before + (ANSWER if events.kind is Answer else REASONING)
        return constant(events.texts(dumps), before, self._after)

    def _encode_custom(self, call: ToolCallStart, event: ReplyEvent) -> bytes:
        match event:
            case ToolCallArguments(_, fragment):
                self._arguments += fragment
                return b""
            case Logprobs() | Counted():
                return self._encode_other(event)
        self._custom = None
        return self._custom_call(call) + self.encode(event)

    def _custom_call(self, start: ToolCallStart) -> bytes:
        text = whole_input(self._arguments)
        if text is None:
            return b""
        custom = {"name": start.name, "input": text}
        call = {"index": start.index, "id": start.id, "type": "custom", "custom": custom}
        return b'%b"tool_calls":[%b]%b' % (self._before, dumps(call), self._after)

    def _encode_other(self, event: ReplyEvent) -> bytes:
        match event:
            case ToolCallStart(_, _, name) if name in self._customs:
                self._custom, self._arguments = event, ""
                return b""
            case Logprobs(tokens):
                # They belong to the next text, which may come several tokens later.
                self._logprobs += tokens
                return b""
            case Counted(tokens):
                self._end_with(self._tails.after(tokens))
                return b""
            case Finished(reason):
                logprobs = self._take_logprobs()
                return b'%b},"logprobs":%b,"finish_reason":"%b"}]%b' % (
                    self._before, logprobs, reason.encode(), self._tail,
                )  # fmt: skip
        return self._delta(event)

    def _delta(self, event: Event) -> bytes:
        match event:
            case Answer(text):
                delta = self._before + ANSWER + dumps(text)
            case Reasoning(text):
                delta = self._before + REASONING + dumps(text)
            case ToolCallStart(index, id, name):
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": id, "type": "function", "function": function}
                delta = b'%b"tool_calls":[%b]' % (self._before, dumps(call))
            case ToolCallArguments(index, fragment):
                delta = b'%b"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (
                    self._before, index, dumps(fragment),
                )  # fmt: skip
        if not self._logprobs:
            return delta + self._after
        logprobs = self._take_logprobs()
        return b'%b},"logprobs":%b,"finish_reason":null}]%b' % (delta, logprobs, self._tail)

    def _end_with(self, tail: bytes) -> None:
        self._tail = tail
        self._after = b'},"logprobs":null,"finish_reason":null}]%b' % tail

    def _take_logprobs(self) -> bytes:
        tokens, self._logprobs = self._logprobs, ()
        return dumps(logprobs_of(tokens))


class ChatDocument:
    """One chat.completion."""

    def __init__(
        self, generation: GenerationRequest, customs: frozenset[str] = frozenset()
    ) -> None:
        self._generation = generation
        self._customs = customs

    def document(self, choices: Sequence[WholeChoice], usage: Usage) -> dict[str, Any]:
        shown = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return document(self._generation, "chat.completion", shown, usage)

    def _choice(self, index: int, choice: WholeChoice) -> dict[str, Any]:
        reply = choice.message
        calls = [shown for call in reply.tool_calls if (shown := self._call(call)) is not None]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.content or (None if calls else ""),
            "refusal": None,
        }
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if calls:
            message["tool_calls"] = calls
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs_of(choice.logprobs),
            "finish_reason": choice.finished.reason,
        }

    def _call(self, call: ToolCall) -> dict[str, Any] | None:
        """None for a custom tool's call that was cut off: a client would run the part it has."""
        if call.name not in self._customs:
            function = {"name": call.name, "arguments": call.arguments}
            return {"id": call.id, "type": "function", "function": function}
        text = whole_input(call.arguments)
        custom = {"name": call.name, "input": text}
        return None if text is None else {"id": call.id, "type": "custom", "custom": custom}


def logprobs_of(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    return {"content": tokens, "refusal": None} if tokens else None
