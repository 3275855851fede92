"""How to read a model's reply, and the events it becomes, independent of any dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from enginix.chat.events import Event
from enginix.chat.pieces import PlainEvents
from enginix.chat.tools.call_guide import CallGuide
from enginix.generation.request import Guide

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Phases:
    """The constraints on a reply's parts. Reasoning is unconstrained."""

    call: CallGuide | None = None
    """For every call."""
    answer: Guide | None = None
    """For the answer's text, unless the model calls a function instead."""
    must_call: bool = False
    end_of_reasoning: tuple[int, ...] = ()
    """The closing tag and what follows it: the model reasons first, and continues after these."""


@dataclass(slots=True)
class ReplyFormat:
    """How tokens become events. Without formats all text is the answer."""

    reasoning: str | None = None
    tools: str | None = None
    starts_inside: bool = False
    definitions: tuple[Mapping[str, Any], ...] = ()
    """The request's tools; empty if none may be called."""
    one_call: bool = False
    must_call: bool = False
    prefill: str = ""
    """The start of the reply, if the prompt contains it already."""
    phases: Phases | None = None
    """The constraints on its parts, if one guide from the first token on does not suffice."""
    stop: tuple[str, ...] = ()
    counts: bool = False
    """Precede every event with the number of tokens so far."""
    continues: bool = False
    """The reply continues the prompt's text: its first space is kept."""


# A token's text, log probability and likeliest alternatives, as chat completions has them: servers
# of the OpenAI API send this form, and the other dialects' forms are parts of it.
TokenLogprob = Mapping[str, Any]


# One is created for every token on request, hence a tuple.
class Logprobs(NamedTuple):
    """The tokens of the events that follow."""

    tokens: tuple[TokenLogprob, ...]


class Counted(NamedTuple):
    """How many tokens the choice has including the events that follow."""

    tokens: int


@dataclass(slots=True)
class Finished:
    """The last event of a choice."""

    reason: FinishReason
    completion_tokens: int
    reasoning_tokens: int = 0
    stop_string: str | None = None
    prompt_tokens: int | None = None
    """Set if only the server that answered could count them."""
    cached_tokens: int | None = None
    """How many of its prompt's tokens were in the cache; None if the server does not state it."""


ReplyEvent = Event | Logprobs | Counted | Finished
# A choice's number and its events; every item is one arrival, never merged by a timer.
Replies = AsyncGenerator[tuple[int, list[ReplyEvent]], None]
# Called with the number of tokens that have just arrived.
Arrived = Callable[[int], None]


Text = TypeVar("Text")


class PlainBytes(NamedTuple, Generic[Text]):
    """The bytes of events that are looked up: before + join(their texts) + after."""

    texts: Mapping[int, Text | None]
    """Token id -> its event's text, in the form that `join` takes."""
    before: bytes
    join: Callable[[list[Text]], bytes]
    after: bytes


def constant(texts: Mapping[int, bytes | None], before: bytes, after: bytes) -> PlainBytes[bytes]:
    """Each event's bytes are before + its text + after."""
    return PlainBytes(texts, before, (after + before).join, after)


class Flow(Protocol):
    @property
    def write_paused(self) -> bool: ...


class DirectWriter(Protocol):
    """Writes before + body + after at once; not to be called while `flow` is paused."""

    @property
    def flow(self) -> Flow: ...

    def write(self, body: bytes, /, before: bytes = b"", after: bytes = b"") -> None: ...


class Delivery(Protocol):
    """Where a reply's events may go straight from the read that brought them."""

    @property
    def body(self) -> DirectWriter | None:
        """None where none may."""

    def encode(self, choice: int, events: Sequence[ReplyEvent], /) -> bytes: ...

    def plain(self, choice: int, events: PlainEvents, /) -> PlainBytes[Any] | None:
        """The bytes of each of `events` until others are encoded; None if they must be, too."""


@dataclass(slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int | None = None
    """Those of the prompt's tokens that were in the cache; None if that is not known."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
