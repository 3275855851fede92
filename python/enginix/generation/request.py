"""A generation request and its results: token ids, never text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from enginix.generation.lane import Lane

# Names and values, as HTTP headers or gRPC metadata carry them.
Headers = tuple[tuple[str, str], ...]


class Origin(NamedTuple):
    """The client's request that something is generated for, as its server is told of it."""

    request_id: str = ""
    trace: Headers = ()
    """W3C's trace context; empty if the request is not traced."""


@dataclass(frozen=True, slots=True)
class Guide:
    """Constrains the output: `kind` is json, json_schema, regex or ebnf_grammar."""

    kind: str
    text: str = ""


# Not frozen, like the others of which every request makes one: that takes four times as long.
@dataclass(slots=True)
class Sampling:
    """How the next token is chosen. None is not sent: the model's default applies."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    min_tokens: int | None = None
    logit_bias: Mapping[int, float] | None = None
    guide: Guide | None = None


# Given the token ids of messages that hold nothing else; whether it has taken them.
Take = Callable[[list[tuple[int, ...]]], bool]


@dataclass(slots=True)
class TokenRequest:
    """One generation. `end_id` and `stop_ids` end the output and are not part of it."""

    prompt_ids: Sequence[int]
    max_tokens: int
    end_id: int | None = None
    stop_ids: Sequence[int] = ()
    sampling: Sampling = field(default_factory=Sampling)
    logprobs: bool = False
    top_logprobs: int = 0
    """How many of the likeliest tokens to report at each position; needs `logprobs`."""
    prompt_logprobs: bool = False
    """Report the prompt's own tokens as well, all but the first."""
    request_id: str = ""
    """No two running requests of a model may have the same: one that is left is stopped by it."""
    trace: Headers = ()
    """As in Origin."""
    take: Take | None = field(default=None, compare=False)
    """Offered what comes after the first tokens, where it is read: what it takes is not yielded,
    and what it raises ends the generation."""
    lane: Lane | None = field(default=None, compare=False)
    """For tokens that `take` would pass on as they are."""


class ScoredToken(NamedTuple):
    """The log probability of a token that was given, and the likeliest at its position."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


# A tuple, because one is made for every token: a frozen dataclass costs three times as much.
class TokenChunk(NamedTuple):
    """The content of one message from the model. `final` marks the last, which may be empty."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    final: bool = False
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    """For each of `ids`, the likeliest tokens at its position, if requested."""
    reused_blocks: int | None = None
    """How many blocks of the cache held the prompt's start; models state it in the first chunk."""
    prompt: tuple[ScoredToken, ...] | None = None
    """The prompt's tokens but the first, if requested; in the first chunk."""
