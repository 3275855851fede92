"""Watches free text for the start of a guided part: a call, or the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto

from enginix.chat.events import Answer, Event
from enginix.chat.reply import markers
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.reply.reader import reply_reader
from enginix.generation.reply import ReplyFormat
from enginix.generation.request import TokenChunk


class Found(Enum):
    CALL = auto()
    ANSWER = auto()


class Watch:
    """`feed` chunks until something is `found`; it returns those to pass on.

    The deciding tokens are not passed on: the guided part replaces them.
    """

    def __init__(self, model: EngineModel, format: ReplyFormat, *, fresh: bool) -> None:
        """`fresh`: at the reply's start, not after a call."""
        phases = format.phases
        assert phases is not None
        if not fresh:
            format = replace(
                format, reasoning=None, starts_inside=False, prefill="", continues=True
            )
        self.found: Found | None = None
        self.instead = ""
        """The text that replaces the tokens that began a call."""
        self._call = phases.call
        self._answer = phases.answer
        self._text, self._parser, _ = reply_reader(model, format)
        self._reasoning = markers(format.reasoning, None)
        # Tokens that may begin a call or the answer, and their text.
        self._held: list[TokenChunk] = []
        self._held_text = ""
        self._free = False

    def feed(self, chunks: Iterable[TokenChunk]) -> list[TokenChunk]:
        ready: list[TokenChunk] = []
        for chunk in _one_token_each(chunks):
            if self.found is None:
                self._read(chunk, ready)
        return ready

    def finish(self) -> list[TokenChunk]:
        """The held tokens, at the end of free text."""
        held, self._held, self._held_text = self._held, [], ""
        return held

    def _read(self, chunk: TokenChunk, ready: list[TokenChunk]) -> None:
        if self._free:
            ready.append(chunk)
            return
        text = self._text.feed(chunk.ids)
        events = self._parser.feed(text) if text else []
        if self._answer is not None and _has_answer(events):
            self.found = Found.ANSWER
            return
        self._held.append(chunk)
        self._held_text += text
        marker = self._parser.marker
        if marker is not None and marker not in self._reasoning:
            if self._call is not None:
                self.found = Found.CALL
                before = self._held_text[: self._held_text.rindex(marker)]
                self.instead = before + self._call.in_place_of(marker)
                return
            self._free = True
        if self._free or not self._parser.held.strip():
            ready += self.finish()


def _has_answer(events: Sequence[Event]) -> bool:
    return any(isinstance(event, Answer) and not event.text.isspace() for event in events)


def _one_token_each(chunks: Iterable[TokenChunk]) -> Iterator[TokenChunk]:
    for chunk in chunks:
        if len(chunk.ids) < 2:
            yield chunk
            continue
        for place, token in enumerate(chunk.ids):
            last = chunk.final and place == len(chunk.ids) - 1
            logprobs = chunk.logprobs[place : place + 1] if chunk.logprobs else chunk.logprobs
            yield TokenChunk((token,), logprobs, last, chunk.top[place : place + 1])
