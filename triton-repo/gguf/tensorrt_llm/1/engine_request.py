"""What the token engine is asked, what it answers, and the sequences that requests run in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prompt_scores import PromptScores
from sampling import Sampler, Sampling
from stop_words import Sampled, StopWords

GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """`stop_words` end the answer and are not part of it; a word is one or more token ids."""

    prompt_ids: Sequence[int]
    max_tokens: int
    stop_words: Sequence[Sequence[int]] = ()
    sampling: Sampling = GREEDY
    score_prompt: bool = False
    """Whether to compute the log probabilities of the prompt's tokens, too."""


class Output(NamedTuple):
    """A part of an answer. The last one is `final` and may be empty or an error."""

    tokens: Sequence[Sampled]
    final: bool = False
    error: str | None = None


CANCELLED = Output((), final=True)
Deliver = Callable[[Output], None]


class Generation:
    """A running request; `deliver` is called on the engine's thread and must not block.

    `reused`: how many of the prompt's tokens a sequence already held; settled with the first token,
    as `scores` are.
    """

    __slots__ = ("deliver", "left", "request", "reused", "sampler", "scores", "stop_words")

    def __init__(
        self,
        request: Request,
        deliver: Deliver,
        sampler: Sampler,
        stop_words: Sequence[Sequence[int]],
        left: int,
    ) -> None:
        self.request = request
        self.deliver = deliver
        self.sampler = sampler
        self.stop_words = StopWords(stop_words)
        self.left = left
        self.reused = 0
        self.scores: PromptScores | None = None
        if request.score_prompt:
            self.scores = PromptScores(request.prompt_ids, request.sampling.top_logprobs)


class Slot:
    """One of llama.cpp's sequences: the tokens it has seen, and its current request."""

    __slots__ = ("generation", "number", "seen", "unread", "unscored")

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: list[int] = []
        self.unread: list[int] = []
        self.generation: Generation | None = None
        self.unscored: PromptScores | None = None
        """The scores of its prompt, while some are missing."""

    def shared_with(self, prompt: Sequence[int]) -> int:
        """How many tokens at the start of `prompt` this sequence already holds."""
        pairs = zip(self.seen, prompt, strict=False)
        return next(
            (place for place, (mine, theirs) in enumerate(pairs) if mine != theirs),
            min(len(self.seen), len(prompt)),
        )
