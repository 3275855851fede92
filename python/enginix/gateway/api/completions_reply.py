"""Text completions as bytes: chunks of a stream, or the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import orjson

from enginix.chat.events import Answer
from enginix.chat.pieces import PlainEvents
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


class CompletionStream(ChunkStream):
    object = "text_completion"

    def __init__(
        self,
        generation: GenerationRequest,
        options: StreamOptions | None = None,
        echoes: Sequence[str] = (),
    ) -> None:
        super().__init__(generation, options)
        self._choices = [
            ChoiceChunks(self.head, index, self.tails) for index in range(generation.choices)
        ]
        self._echoes = echoes

    def begin(self) -> bytes:
        return b"".join(
            choice.encode(Answer(echo))
            for choice, echo in zip(self._choices, self._echoes, strict=False)
        )

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes:
        chunks = self._choices[choice]
        return b"".join([chunks.encode(event) for event in events])

    def plain(self, choice: int, events: PlainEvents) -> PlainBytes[bytes] | None:
        return self._choices[choice].plain(events)


class ChoiceChunks:
    def __init__(self, head: bytes, index: int, tails: Tails) -> None:
        self._before = b'%b,"choices":[{"index":%d,"text":' % (head, index)
        self._tails = tails
        self._end_with(tails.first)
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self._offset = 0

    def encode(self, event: ReplyEvent) -> bytes:
        if event.__class__ is Answer and not self._logprobs:
            return self._before + dumps(event.text) + self._after
        match event:
            case Logprobs(tokens):
                self._logprobs += tokens
            case Answer(text):
                return self._chunk(text, b"null")
            case Counted(count):
                self._end_with(self._tails.after(count))
            case Finished(reason):
                return self._chunk("", b'"%b"' % reason.encode())
        return b""

    def plain(self, events: PlainEvents) -> PlainBytes[bytes] | None:
        if events.kind is not Answer or self._logprobs:
            return None
        return constant(events.texts(dumps), self._before, self._after)

    def _end_with(self, tail: bytes) -> None:
        self._tail = tail
        self._after = b',"logprobs":null,"finish_reason":null}]%b' % tail

    def _chunk(self, text: str, reason: bytes) -> bytes:
        tokens, self._logprobs = self._logprobs, ()
        logprobs = b"null"
        if tokens:
            places = logprobs_of(tokens, self._offset)
            self._offset = places["text_offset"][-1] + len(places["tokens"][-1])
            logprobs = dumps(places)
        return b'%b%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._before, dumps(text), logprobs, reason, self._tail,
        )  # fmt: skip


class CompletionDocument:
    """One text_completion."""

    def __init__(self, generation: GenerationRequest, echoes: Sequence[str] = ()) -> None:
        self._generation = generation
        self._echoes = echoes

    def document(self, choices: Sequence[WholeChoice], usage: Usage) -> dict[str, Any]:
        shown = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return document(self._generation, "text_completion", shown, usage)

    def _choice(self, index: int, choice: WholeChoice) -> dict[str, Any]:
        echo = self._echoes[index] if self._echoes else ""
        logprobs = logprobs_of(choice.logprobs) if choice.logprobs else None
        return {
            "index": index,
            "text": echo + choice.message.content,
            "logprobs": logprobs,
            "finish_reason": choice.finished.reason,
        }


def logprobs_of(tokens: Sequence[TokenLogprob], offset: int = 0) -> dict[str, Any]:
    """`offset`: where the first token starts in the answer."""
    texts = [each["token"] for each in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [each["logprob"] for each in tokens],
        "top_logprobs": [_likeliest(each) for each in tokens],
        "text_offset": [*accumulate(map(len, texts), initial=offset)][:-1],
    }


def _likeliest(token: TokenLogprob) -> dict[str, float] | None:
    # A prompt's first token comes after nothing.
    if token["logprob"] is None:
        return None
    # The chosen token is always included, even if it is not one of the likeliest.
    return {each["token"]: each["logprob"] for each in (*token["top_logprobs"], token)}
