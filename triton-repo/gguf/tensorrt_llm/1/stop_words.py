"""Ends an answer at a stop word, a sequence of token ids, and never emits a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Sampled(NamedTuple):
    """One token of an answer, with log probabilities if they were requested."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class StopWords:
    """Holds back tokens that may start a stop word; most pass at once."""

    __slots__ = ("_held", "_sequences", "_single", "matched")

    def __init__(self, words: Iterable[Sequence[int]]) -> None:
        sequences = [tuple(word) for word in words if word]
        self._single = frozenset(word[0] for word in sequences if len(word) == 1)
        self._sequences = [word for word in sequences if len(word) > 1]
        self._held: list[Sampled] = []
        self.matched = False

    def feed(self, sampled: Sampled) -> list[Sampled]:
        """The tokens that certainly belong to the answer; once `matched`, its last ones."""
        if sampled.token in self._single:
            self.matched = True
            # The start of a longer word, cut off: it belongs to the answer.
            return self.finish()
        if not self._sequences:
            return [sampled]
        self._held.append(sampled)
        return self._release()

    def finish(self) -> list[Sampled]:
        """Release what was held back: the answer ended otherwise."""
        held, self._held = self._held, []
        return held

    def _release(self) -> list[Sampled]:
        tokens = tuple(sampled.token for sampled in self._held)
        for word in self._sequences:
            if tokens[-len(word) :] == word:
                self.matched = True
                return self.finish()[: -len(word)]
        keep = max(_overlap(tokens, word) for word in self._sequences)
        cut = len(tokens) - keep
        free, self._held = self._held[:cut], self._held[cut:]
        return free


def _overlap(tokens: tuple[int, ...], word: tuple[int, ...]) -> int:
    """The length of the longest suffix of `tokens` that is a prefix of `word`."""
    longest = min(len(tokens), len(word) - 1)
    return next((n for n in range(longest, 0, -1) if tokens[-n:] == word[:n]), 0)
