"""Decides how many prompt tokens a step reads."""

from __future__ import annotations

# Seconds that prompts may add to a step in which others get a token of their answer.
SHARED_STEP = 0.1
# Seconds of a step in which there are prompts only.
LONE_STEP = 1.0
LEAST_PROMPT_SHARE = 16
# Of a small model, whose steps are attention: llama.cpp's works on 64 positions of a prompt, and
# takes three times as long for 63.
SMALL_PROMPT_SHARE = FIRST_PROMPT_SHARE = 64


class PromptShare:
    """How many prompt tokens a step may read: as many as it can in a time.

    While a step runs, no request gets a token, joins, or is cancelled. Reading many tokens at once
    is cheaper, and all prompts wait for it alike: so where nobody waits for a token yet, a step may
    be longer. The first one after a pause is short: who comes a moment later is read with the rest.
    """

    def __init__(self, most: int, least: int = LEAST_PROMPT_SHARE) -> None:
        self._most = most
        self._least = min(least, most)
        self._seconds_per_token = 0.0
        self._alone: dict[int, float] = {}
        self._is_first = True

    def pause(self) -> None:
        """There is nothing to do."""
        self._is_first = True

    def tokens(self, answers: int) -> int:
        """Of prompts, in a step with so many answers."""
        if self._is_first and not answers:
            return self._least
        if not self._seconds_per_token:
            return min(FIRST_PROMPT_SHARE, self._most)
        limit = SHARED_STEP if answers else LONE_STEP
        fitting = int(limit / self._seconds_per_token)
        fitting -= fitting % self._least
        return min(max(fitting, self._least), self._most)

    def learn(self, read: int, answers: int, seconds: float) -> None:
        """From a step that read so many tokens of prompts, beside so many answers."""
        first, self._is_first = self._is_first, False
        if not read:
            self._alone[answers] = seconds
        # What a few tokens take says nothing about many.
        elif read >= self._least and not first:
            alone = self._answers_alone(answers)
            # A token of a prompt is some eight times cheaper than one of an answer.
            least = seconds * read / (read + 8 * answers) / 2
            found = max(seconds - alone, least) / read
            known = self._seconds_per_token or found
            self._seconds_per_token = (known + found) / 2

    def _answers_alone(self, answers: int) -> float:
        """Seconds of a step with so many answers and no prompt, or with as many as were seen."""
        if not answers or not self._alone:
            return 0.0
        return self._alone[min(self._alone, key=lambda known: abs(known - answers))]
