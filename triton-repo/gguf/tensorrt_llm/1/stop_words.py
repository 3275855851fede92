"""Ends an answer at a stop word, a sequence of token ids, of which nothing is let out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Sampled(NamedTuple):
    """One token of an answer; `logprob`, and the likeliest tokens', where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class StopWords:
    """Holds back tokens that may be the beginning of a stop word; most are let out at once."""

    __slots__ = ("_held", "_sequences", "_single", "matched")

    def __init__(self, words: Iterable[Sequence[int]]) -> None:
        sequences = [tuple(word) for word in words if word]
        self._single = frozenset(word[0] for word in sequences if len(word) == 1)
        self._sequences = [word for word in sequences if len(word) > 1]
        self._held: list[Sampled] = []
        self.matched = False

    def feed(self, sampled: Sampled) -> list[Sampled]:
        """What is certainly part of the answer; once `matched`, the last of it."""
        if sampled.token in self._single:
            self.matched = True
            # A longer word's beginning, cut off: it was an ordinary part of the answer.
            return self.finish()
        if not self._sequences:
            return [sampled]
        self._held.append(sampled)
        return self._release()

    def finish(self) -> list[Sampled]:
        """Let out what was held back: the answer ended otherwise."""
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
    """Length of the longest end of `tokens` that begins `word`."""
    longest = min(len(tokens), len(word) - 1)
    return next((n for n in range(longest, 0, -1) if tokens[-n:] == word[:n]), 0)
