"""What one HTTP request asks of a model, in no dialect: the interface of APIs and generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from enginix.chat.events import Event
from enginix.chat.tools.call_guide import CallGuide
from enginix.gateway.models.registry import RelayedModel, ServedModel
from enginix.generation.request import Guide, TokenRequest

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


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How tokens become events. Without formats all text is the answer."""

    reasoning: str | None = None
    tools: str | None = None
    starts_inside: bool = False
    definitions: tuple[Mapping[str, Any], ...] = ()
    """The request's tools; empty if none may be called."""
    one_call: bool = False
    must_call: bool = False
    begun: str = ""
    """The start of the reply, if the prompt contains it already."""
    phases: Phases | None = None
    """The constraints on its parts, if one guide from the first token on does not suffice."""
    stop: tuple[str, ...] = ()
    counts: bool = False
    """Precede every event with the number of tokens so far."""
    continues: bool = False
    """The reply continues the prompt's text: its first space is kept."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; each of `requests` becomes one choice of the reply."""

    id: str
    model: ServedModel
    requests: tuple[TokenRequest, ...]
    format: ReplyFormat = field(default_factory=ReplyFormat)
    prompt_tokens: int = 0
    guide_param: str = "response_format"
    """The dialect's name for the answer's constraint."""


@dataclass(frozen=True, slots=True)
class RelayedAsk:
    """Like Ask, for a model whose own server accepts chats: `body` is sent to that server."""

    id: str
    model: RelayedModel
    body: Mapping[str, Any]
    format: ReplyFormat
    choices: int = 1
    prompt_tokens: int = 0
    """Unknown until the end of the reply reports it."""
    blind: Sequence[Mapping[str, Any]] | None = None
    """Alternative messages, if there are images and the model turns out not to see them."""

    @property
    def requests(self) -> Sequence[int]:
        """One item per choice."""
        return range(self.choices)


AnyAsk = Ask | RelayedAsk


class TokenLogprob(NamedTuple):
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens at its position, the likeliest first."""


class SpelledLogprob(TokenLogprob):
    """A log probability with its token's text: `entry` is its form in chat completions."""

    entry: Mapping[str, Any]

    def __new__(cls, entry: Mapping[str, Any]) -> SpelledLogprob:
        self = super().__new__(cls, -1, entry.get("logprob") or 0.0)
        self.entry = entry
        return self


# One is created for every token on request, hence a tuple.
class Logprobs(NamedTuple):
    """The tokens of the events that follow."""

    tokens: tuple[TokenLogprob, ...]


class Counted(NamedTuple):
    """How many tokens the choice has including the events that follow."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a choice."""

    reason: FinishReason
    completion_tokens: int
    reasoning_tokens: int = 0
    stop_string: str | None = None
    prompt_tokens: int | None = None
    """Set if only the server that answered could count them."""


ReplyEvent = Event | Logprobs | Counted | Finished


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
