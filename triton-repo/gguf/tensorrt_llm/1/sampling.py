"""Chooses the next token from the model's logits, as one request wants it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from ctypes import CDLL
from dataclasses import dataclass

import numpy as np
from llama_cpp import ChainParams
from stop_words import Sampled

# Far below any logit, and finite: where a grammar allows nothing else, the token may still come.
FORBIDDEN = -1e9
ONE_AT_LEAST = 1
ANY_SEED = 0xFFFF_FFFF
# Tokens back to which a penalty looks.
PENALTY_WINDOW = 65536


@dataclass(frozen=True, slots=True)
class Sampling:
    """TensorRT-LLM's options. Greedy unless a temperature, top_k or top_p asks for a choice."""

    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    bias: np.ndarray | None = None
    """Added to the logits: one value for each token of the vocabulary."""
    logprobs: bool = False

    @property
    def is_greedy(self) -> bool:
        if self.temperature is None:
            return self.top_k <= 1 and self.top_p >= 1.0
        return self.temperature <= 0.0 or self.top_k == 1

    @property
    def has_penalties(self) -> bool:
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )


class Sampler:
    """One request's state: penalties remember its tokens, the seed's stream moves on."""

    def __init__(
        self,
        library: CDLL,
        vocabulary_size: int,
        sampling: Sampling,
        prompt_ids: Sequence[int],
        ends: frozenset[int],
    ) -> None:
        self._library = library
        self._sampling = sampling
        self._ends = np.fromiter(ends, np.int64) if sampling.min_tokens and ends else None
        self._count = 0
        self._chain = None
        if not sampling.is_greedy or sampling.has_penalties:
            self._chain = _chain(library, vocabulary_size, sampling, prompt_ids)

    def sample(self, context: int, place: int, logits: np.ndarray) -> Sampled:
        """The next token; `logits` is llama.cpp's own row for the batch entry `place`."""
        sampling = self._sampling
        if sampling.bias is not None:
            logits += sampling.bias
        if self._ends is not None and self._count < sampling.min_tokens:
            logits[self._ends] = FORBIDDEN
        self._count += 1
        # The chain copies the whole vocabulary into its own form: too dear for a maximum.
        if self._chain is None:
            token = int(logits.argmax())
        else:
            token = self._library.llama_sampler_sample(self._chain, context, place)
        return Sampled(token, _logprob(logits, token) if sampling.logprobs else None)

    def close(self) -> None:
        if self._chain is not None:
            self._library.llama_sampler_free(self._chain)
            self._chain = None


def _logprob(logits: np.ndarray, token: int) -> float:
    highest = float(logits.max())
    total = float(np.exp(logits - highest, dtype=np.float32).sum(dtype=np.float64))
    return float(logits[token]) - highest - math.log(total)


def _chain(
    library: CDLL, vocabulary_size: int, sampling: Sampling, prompt_ids: Sequence[int]
) -> int:
    chain: int = library.llama_sampler_chain_init(ChainParams(True))
    add = library.llama_sampler_chain_add
    for link in _penalties(library, vocabulary_size, sampling, prompt_ids):
        add(chain, link)
    if sampling.is_greedy:
        add(chain, library.llama_sampler_init_greedy())
        return chain
    # The temperature comes before top_p and min_p, as in TensorRT-LLM; llama.cpp's own programs
    # apply it last. It does not change the order that top_k looks at, which is cheaper first.
    if sampling.top_k > 0:
        add(chain, library.llama_sampler_init_top_k(sampling.top_k))
    if sampling.temperature is not None:
        add(chain, library.llama_sampler_init_temp(sampling.temperature))
    if sampling.top_p < 1.0:
        add(chain, library.llama_sampler_init_top_p(sampling.top_p, ONE_AT_LEAST))
    if sampling.min_p > 0.0:
        add(chain, library.llama_sampler_init_min_p(sampling.min_p, ONE_AT_LEAST))
    add(chain, library.llama_sampler_init_dist(_seed(sampling.seed)))
    return chain


def _penalties(
    library: CDLL, vocabulary_size: int, sampling: Sampling, prompt_ids: Sequence[int]
) -> Iterator[int]:
    """A repetition counts from the prompt on, presence and frequency from the answer on."""
    if sampling.repetition_penalty != 1.0:
        link: int = library.llama_sampler_init_penalties(
            vocabulary_size, PENALTY_WINDOW, sampling.repetition_penalty, 0.0, 0.0
        )
        for token in prompt_ids[-PENALTY_WINDOW:]:
            library.llama_sampler_accept(link, token)
        yield link
    if sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0:
        yield library.llama_sampler_init_penalties(
            vocabulary_size,
            PENALTY_WINDOW,
            1.0,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        )


def _seed(seed: int | None) -> int:
    """llama.cpp's 32 bits out of a request's 64; its highest value would mean "any"."""
    if seed is None:
        return secrets.randbelow(ANY_SEED)
    return (seed ^ seed >> 32) % ANY_SEED
