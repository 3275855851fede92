"""A prompt's tokens are scored once, however often they are read."""

from __future__ import annotations

import numpy as np
import pytest
from prompt_scores import PromptScores

PROMPT = [1, 0, 2, 2]
# After each of its tokens all three are equally likely.
LOGITS = np.zeros((len(PROMPT), 3), np.float32)


def test_all_tokens_but_the_first_are_scored() -> None:
    scores = PromptScores(PROMPT, 0)
    scores.read(0, LOGITS)
    assert [each.token for each in scores.tokens] == PROMPT[1:]
    assert [each.logprob for each in scores.tokens] == pytest.approx([-np.log(3)] * 3)
    assert not scores.missing


def test_tokens_that_are_read_again_keep_their_scores() -> None:
    scores = PromptScores(PROMPT, 0)
    for start, end in ((0, 2), (0, 1), (1, 3), (3, 4)):
        scores.read(start, LOGITS[start:end])
    assert [each.token for each in scores.tokens] == PROMPT[1:]
