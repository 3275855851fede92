"""Chooses the next token from the model's logits, by one request's options."""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from ctypes import CDLL
from dataclasses import dataclass
from math import inf

import numpy as np
from guides import Guide
from llama_cpp import ChainParams, LlamaError
from stop_words import Sampled

# Far below any logit, and finite: where a grammar allows nothing else, the token may still come.
FORBIDDEN = -1e9
ONE_AT_LEAST = 1
ANY_SEED = 0xFFFF_FFFF
# How many tokens back a penalty looks.
PENALTY_WINDOW = 65536
MOST_LOGPROBS = 20
# OpenAI's log probability of a token that is practically impossible.
LEAST_LOGPROB = -9999.0
HIGHEST = float(np.finfo(np.float32).max)

# Option, its lowest and its highest value.
RANGES = (
    ("temperature", 0.0, HIGHEST),
    ("top_k", 0, inf),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 1e-3, 1e3),
    ("presence_penalty", -HIGHEST, HIGHEST),
    ("frequency_penalty", -HIGHEST, HIGHEST),
    ("min_tokens", 0, inf),
    ("top_logprobs", 0, MOST_LOGPROBS),
)


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
    """Added to the logits: one value per token, from the first token on."""
    bad_words: Sequence[Sequence[int]] = ()
    guide: tuple[str, str] | None = None
    """The kind of guide, and its text."""
    logprobs: bool = False
    top_logprobs: int = 0
    """How many of the likeliest tokens to report as well."""

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


def check_sampling(sampling: Sampling, vocabulary_size: int) -> None:
    """Raise LlamaError for a value that has no meaning."""
    for name, lowest, highest in RANGES:
        value = getattr(sampling, name)
        # Written so that NaN is refused.
        if value is not None and not lowest <= value <= highest:
            wanted = f"at least {lowest:g}" if highest == inf else f"{lowest:g} to {highest:g}"
            raise LlamaError(f"{name} is {value:g}; expected {wanted}")
    for word in sampling.bad_words:
        if min(word) < 0 or max(word) >= vocabulary_size:
            raise LlamaError(
                f"bad_words_list holds the word {list(word)}; this model has the tokens 0 to "
                f"{vocabulary_size - 1}"
            )
    bias = sampling.bias
    if bias is None:
        return
    if len(bias) > vocabulary_size:
        raise LlamaError(
            f"embedding_bias has {len(bias)} values, this model {vocabulary_size} tokens"
        )
    if np.isnan(bias).any():
        raise LlamaError("embedding_bias holds a value that is not a number")


class Sampler:
    """One request's state: the tokens for penalties, and the random stream of its seed."""

    def __init__(
        self,
        chain: Chain | None,
        sampling: Sampling,
        ends: Sequence[int],
        guide: Guide | None = None,
    ) -> None:
        self._chain = chain
        self._sampling = sampling
        self._guide = guide
        self._bias = None
        if sampling.bias is not None:
            self._bias = np.clip(sampling.bias, FORBIDDEN, -FORBIDDEN)
        self._ends = np.array(ends, np.int64)
        self._bad_words = BadWords(sampling.bad_words) if sampling.bad_words else None
        self._count = 0

    def sample(self, context: int, place: int, logits: np.ndarray) -> Sampled:
        """The next token; `logits` is llama.cpp's own row for the batch entry `place`.

        Raises LlamaError where a guide cannot be followed.
        """
        self._constrain(logits)
        # The chain copies the whole vocabulary into its own form: too dear for a maximum.
        token = int(logits.argmax()) if self._chain is None else self._chain.sample(context, place)
        self._count += 1
        if self._guide is not None:
            self._guide.accept(token)
        if self._bad_words is not None:
            self._bad_words.accept(token)
        if not self._sampling.logprobs:
            return Sampled(token)
        return scored(token, logits, self._sampling.top_logprobs)

    def close(self) -> None:
        if self._chain is not None:
            self._chain.close()
        if self._guide is not None:
            self._guide.close()

    def _constrain(self, logits: np.ndarray) -> None:
        if self._bias is not None:
            logits[: len(self._bias)] += self._bias
        if self._count < self._sampling.min_tokens:
            logits[self._ends] = FORBIDDEN
        if self._bad_words is not None:
            logits[self._bad_words.next()] = FORBIDDEN
        if self._guide is not None:
            self._guide.constrain(logits)


class BadWords:
    """Sequences of tokens to exclude: the last token may not follow the others."""

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        self._words = [tuple(word) for word in words]
        longest = max(len(word) for word in self._words)
        self._tail: deque[int] = deque(maxlen=max(longest - 1, 1))

    def accept(self, token: int) -> None:
        self._tail.append(token)

    def next(self) -> list[int]:
        tail = tuple(self._tail)
        return [
            word[-1] for word in self._words if len(word) == 1 or tail[1 - len(word) :] == word[:-1]
        ]


class Chain:
    """A chain of llama.cpp's samplers."""

    def __init__(
        self,
        library: CDLL,
        vocabulary: int,
        sampling: Sampling,
        prompt_ids: Sequence[int],
    ) -> None:
        self._library = library
        self._chain: int = library.llama_sampler_chain_init(ChainParams(True))
        for link in _penalties(library, vocabulary, sampling, prompt_ids):
            self._add(link)
        for link in _choices(library, sampling):
            self._add(link)

    def sample(self, context: int, place: int) -> int:
        token: int = self._library.llama_sampler_sample(self._chain, context, place)
        return token

    def close(self) -> None:
        self._library.llama_sampler_free(self._chain)

    def _add(self, link: int) -> None:
        self._library.llama_sampler_chain_add(self._chain, link)


def scored(token: int, logits: np.ndarray, top_logprobs: int) -> Sampled:
    """The token with its log probability, and those of the likeliest ones."""
    total = _log_of_all(logits)
    top = _highest(logits, top_logprobs)
    return Sampled(
        token,
        max(float(logits[token]) - total, LEAST_LOGPROB),
        tuple((each, max(float(logits[each]) - total, LEAST_LOGPROB)) for each in top),
    )


def _log_of_all(logits: np.ndarray) -> float:
    """The value to subtract from a logit for its log probability."""
    highest = float(logits.max())
    total = float(np.exp(logits - highest, dtype=np.float32).sum(dtype=np.float64))
    return highest + math.log(total)


def _highest(logits: np.ndarray, count: int) -> list[int]:
    """The tokens with the highest logits, the highest first."""
    if not count:
        return []
    if count == 1:
        # What harnesses ask for at every place of a prompt: a tenth of the time.
        return [int(logits.argmax())]
    count = min(count, len(logits))
    found = np.argpartition(logits, -count)[-count:]
    ordered: list[int] = found[np.argsort(-logits[found], kind="stable")].tolist()
    return ordered


def _choices(library: CDLL, sampling: Sampling) -> Iterator[int]:
    if sampling.is_greedy:
        yield library.llama_sampler_init_greedy()
        return
    # The temperature comes before top_p and min_p, as in TensorRT-LLM; llama.cpp's own programs
    # apply it last. It does not change the order that top_k looks at, which is cheaper first.
    if sampling.top_k > 0:
        yield library.llama_sampler_init_top_k(sampling.top_k)
    if sampling.temperature is not None:
        yield library.llama_sampler_init_temp(sampling.temperature)
    if sampling.top_p < 1.0:
        yield library.llama_sampler_init_top_p(sampling.top_p, ONE_AT_LEAST)
    if sampling.min_p > 0.0:
        yield library.llama_sampler_init_min_p(sampling.min_p, ONE_AT_LEAST)
    yield library.llama_sampler_init_dist(_seed(sampling.seed))


def _penalties(
    library: CDLL, vocabulary: int, sampling: Sampling, prompt_ids: Sequence[int]
) -> Iterator[int]:
    """A repetition counts from the prompt on, presence and frequency from the answer on."""
    size = library.llama_vocab_n_tokens(vocabulary)
    if sampling.repetition_penalty != 1.0:
        link: int = library.llama_sampler_init_penalties(
            size, PENALTY_WINDOW, sampling.repetition_penalty, 0.0, 0.0
        )
        for token in prompt_ids[-PENALTY_WINDOW:]:
            library.llama_sampler_accept(link, token)
        yield link
    if sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0:
        yield library.llama_sampler_init_penalties(
            size,
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
