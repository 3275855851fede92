"""Decides how many prompt tokens a step reads."""

from __future__ import annotations

LONG_STEP = 0.1
LEAST_PROMPT_SHARE = 16
# Of a small model, whose steps are attention: llama.cpp's works on 64 positions of a prompt, and
# takes three times as long for 63.
SMALL_PROMPT_SHARE = FIRST_PROMPT_SHARE = 64


class PromptShare:
    """How many prompt tokens a step may read: as many as it can in about `LONG_STEP` seconds.

    While a step runs, no request gets a token, joins, or is cancelled.
    """

    def __init__(self, most: int, least: int = LEAST_PROMPT_SHARE) -> None:
        self._most = most
        self._least = min(least, most)
        self.tokens = min(FIRST_PROMPT_SHARE, most)

    def adapt(self, read: int, seconds: float) -> None:
        """Adjust to the duration of a step that read so many prompt tokens."""
        if seconds > LONG_STEP:
            self.tokens = max(int(read * LONG_STEP / seconds), self._least)
            self.tokens -= self.tokens % self._least
        elif read == self.tokens and seconds < LONG_STEP / 2:
            self.tokens = min(self.tokens * 2, self._most)
