"""Cuts a text's tokens into the windows that a model reads, and turns what it says into perplexity.

A model predicts each token from those before it, of which it can read a limited number. Every
token is scored once. Windows overlap, so that no token but the first ones lacks its context.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginix.errors import PerplexityInvalid, UsageError

CONTEXT = 512
STRIDE = 256
# Fewer say nothing about a model.
FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Window:
    ids: Sequence[int]
    """Token ids, which begin with the tokens that begin every prompt of this model."""
    first: int
    """The place in `ids` of the first token to score; all after it are scored too."""

    @property
    def scored(self) -> int:
        return len(self.ids) - self.first


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a window, and by how many the next one is further on in the text."""

    context: int
    stride: int


def window_size(context: int | None, stride: int | None, longest: int | None) -> Size:
    """The given size or the default; `longest` is the model's own limit, if it is known."""
    if context and longest and context > longest:
        raise UsageError(f"--context {context}: the model reads at most {longest} tokens")
    context = context or min(CONTEXT, longest or CONTEXT)
    if context < FEWEST_TOKENS:
        raise UsageError(f"--context {context}: expected at least {FEWEST_TOKENS} tokens")
    # Half of a window is context by default, as it is with 512 and 256.
    stride = stride or max(1, context * STRIDE // CONTEXT)
    if stride >= context:
        raise UsageError(f"--stride {stride}: expected less than the context of {context} tokens")
    return Size(context, stride)


def windows(ids: Sequence[int], prefix: Sequence[int], size: Size) -> list[Window]:
    """The windows of `ids`, each after `prefix`: the token that begins a text, if there is one."""
    if len(ids) < FEWEST_TOKENS:
        raise UsageError(
            f"the text has {len(ids)} tokens, expected at least {FEWEST_TOKENS}; name a longer one"
        )
    return list(_windows(ids, prefix, size))


def _windows(ids: Sequence[int], prefix: Sequence[int], size: Size) -> Iterator[Window]:
    # Nothing predicts a first token that follows nothing.
    scored = 0 if prefix else 1
    start = 0
    while scored < len(ids):
        end = min(start + size.context - len(prefix), len(ids))
        yield Window([*prefix, *ids[start:end]], len(prefix) + scored - start)
        start, scored = start + size.stride, end


def perplexity(logprob: float, tokens: int, what: str) -> float:
    """From the sum of natural log probabilities; PerplexityInvalid if `what` computes no number."""
    loss = -logprob / tokens
    # exp(700) is nearly the largest float.
    if not loss < 700:
        raise PerplexityInvalid(what)
    return round(math.exp(loss), 4)
