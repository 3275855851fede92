"""The log probabilities of a prompt's own tokens, computed while the prompt is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sampling import scored
from stop_words import Sampled

# How many tokens of such prompts a step reads. Each has a row of logits, which answers do not: 64
# rows of 150,000 values take 38 MB.
SCORED_STEP = 64


class PromptScores:
    """Of each token but the first, which comes after nothing: given all tokens before it."""

    def __init__(self, prompt_ids: Sequence[int], top_logprobs: int) -> None:
        self.tokens: list[Sampled] = []
        self._prompt_ids = prompt_ids
        self._top_logprobs = top_logprobs

    @property
    def missing(self) -> bool:
        return len(self.tokens) < len(self._prompt_ids) - 1

    def read(self, start: int, logits: np.ndarray) -> None:
        """`logits` has a row for each token from place `start` on: what comes after it."""
        # Tokens that are read again, because the memory was too small, have theirs already.
        done = len(self.tokens) - start
        targets = self._prompt_ids[start + 1 + done : start + 1 + len(logits)]
        for token, row in zip(targets, logits[done:], strict=False):
            self.tokens.append(scored(token, row, self._top_logprobs))
