"""What one HTTP request asks of a model, in no dialect: the border between APIs and generation."""

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
    """What the parts of a reply are held to. Reasoning is free."""

    call: CallGuide | None = None
    """Every call."""
    answer: Guide | None = None
    """The answer's text, unless the model calls a function instead."""
    must_call: bool = False
    end_of_reasoning: tuple[int, ...] = ()
    """The closing tag and what follows it: the model reasons first, and goes on behind these."""


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How tokens become events. Without formats everything is answer text."""

    reasoning: str | None = None
    tools: str | None = None
    starts_inside: bool = False
    definitions: tuple[Mapping[str, Any], ...] = ()
    """The request's tools; empty when none may be called."""
    one_call: bool = False
    must_call: bool = False
    begun: str = ""
    """The reply's first words, when the prompt holds them already."""
    phases: Phases | None = None
    """What its parts are held to, where one guide from the first token on is not enough."""
    stop: tuple[str, ...] = ()
    counts: bool = False
    """Every event is to be preceded by the number of tokens so far."""
    continues: bool = False
    """The reply goes on where the prompt's text ended: its first space is its own."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Everything one request asks for; each of `requests` becomes one choice of the reply."""

    id: str
    model: ServedModel
    requests: tuple[TokenRequest, ...]
    format: ReplyFormat = field(default_factory=ReplyFormat)
    prompt_tokens: int = 0
    guide_param: str = "response_format"
    """What the dialect calls the form an answer is held to."""


@dataclass(frozen=True, slots=True)
class RelayedAsk:
    """As Ask, for a model whose own server takes chats: `body` is what that server is asked."""

    id: str
    model: RelayedModel
    body: Mapping[str, Any]
    format: ReplyFormat
    choices: int = 1
    prompt_tokens: int = 0
    """Nobody here can count them; the reply's end says how many they were."""
    blind: Sequence[Mapping[str, Any]] | None = None
    """The messages for a model that turns out to see no images, where there are any."""

    @property
    def requests(self) -> Sequence[int]:
        """One for each choice."""
        return range(self.choices)


AnyAsk = Ask | RelayedAsk


class TokenLogprob(NamedTuple):
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens in its place, the likeliest first."""


class SpelledLogprob(TokenLogprob):
    """One that came with its token's text: `entry` is what chat completions show of it."""

    entry: Mapping[str, Any]

    def __new__(cls, entry: Mapping[str, Any]) -> SpelledLogprob:
        self = super().__new__(cls, -1, entry.get("logprob") or 0.0)
        self.entry = entry
        return self


# One for every token when asked for, so a tuple again.
class Logprobs(NamedTuple):
    """The tokens of the events that follow; comes before them."""

    tokens: tuple[TokenLogprob, ...]


class Counted(NamedTuple):
    """How many tokens the choice has by the events that follow."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a choice."""

    reason: FinishReason
    completion_tokens: int
    reasoning_tokens: int = 0
    stop_string: str | None = None
    prompt_tokens: int | None = None
    """Where only the server that answered could count them."""


ReplyEvent = Event | Logprobs | Counted | Finished


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
