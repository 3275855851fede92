"""What one HTTP request asks of a model, in no dialect: the border between APIs and generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from enginix.chat.events import Event
from enginix.gateway.models import ServedModel
from enginix.triton.request import TokenRequest

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How tokens become events. Without formats everything is answer text."""

    reasoning: str | None = None
    tools: str | None = None
    starts_inside: bool = False
    definitions: tuple[Mapping[str, Any], ...] = ()
    """The request's tools; empty when none may be called."""
    one_call: bool = False
    begun: str = ""
    """The reply's first words, when the prompt holds them already."""
    end_of_reasoning: tuple[int, ...] = ()
    """Where a guide begins to hold, when the model reasons before its guided answer."""
    stop: tuple[str, ...] = ()
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


class TokenLogprob(NamedTuple):
    token: int
    logprob: float


# One for every token when asked for, so a tuple again.
class Logprobs(NamedTuple):
    """The tokens of the events that follow; comes before them."""

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a choice."""

    reason: FinishReason
    completion_tokens: int
    reasoning_tokens: int = 0
    stop_string: str | None = None


ReplyEvent = Event | Logprobs | Finished


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
