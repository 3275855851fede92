"""Evaluates a model, wherever it runs: its perplexity on a text, and its greedy answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginix import __version__
from enginix.accuracy.evaluation import Answer, Evaluation, tokens_sha256
from enginix.accuracy.text import Text
from enginix.accuracy.windows import Size, Window, perplexity, window_size, windows
from enginix.errors import CannotScore
from enginix.manifest import Accuracy

Progress = Callable[[str, int, int], None]
"""Gets what is being done, how many parts of it are done, and how many there are."""
Count = Callable[[int], None]

# Prose, code, arithmetic, lists and other languages, each with one likely continuation.
PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "1 2 3 4 5 6 7 8",
    "Monday, Tuesday, Wednesday,",
    "Once upon a time there was a king who",
    "Question: What is 17 + 25?\nAnswer:",
    "To be, or not to be,",
    "Guten Morgen! Wie geht es",
)
ANSWER_TOKENS = 32


class Target(Protocol):
    """A model that can be measured: an engine here, or one behind a server."""

    @property
    def name(self) -> str:
        """The engine's directory, or the server's address."""

    @property
    def model(self) -> str: ...

    @property
    def longest(self) -> int | None:
        """Tokens that it reads at most; None if that is unknown."""

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]: ...

    def logprob(self, windows: Sequence[Window], done: Count) -> tuple[float, Mapping[str, str]]:
        """The sum over the windows' scored tokens, and the versions of what computed it.

        CannotScore if it gives none.
        """

    def answers(self, prompts: Sequence[list[int]], max_tokens: int, done: Count) -> list[str]:
        """The text with which the model continues each prompt greedily."""


@dataclass(frozen=True, slots=True)
class Options:
    """None: the default."""

    context: int | None = None
    stride: int | None = None


def evaluate(target: Target, text: Text, options: Options, progress: Progress) -> Evaluation:
    size = window_size(options.context, options.stride, target.longest)
    ids = target.encode(text.content)
    accuracy = reason = None
    try:
        accuracy = _accuracy(target, text, ids, size, progress)
    except CannotScore as error:
        reason = str(error)
    return Evaluation(
        target=target.name,
        model=target.model,
        text=text.name,
        text_sha256=text.sha256,
        tokens_sha256=tokens_sha256(ids),
        context=size.context,
        stride=size.stride,
        accuracy=accuracy,
        reason=reason,
        answers=_answers(target, progress),
    )


def measure(target: Target, text: Text, progress: Progress) -> Accuracy:
    """The perplexity alone, in windows of the default size."""
    size = window_size(None, None, target.longest)
    return _accuracy(target, text, target.encode(text.content), size, progress)


def _accuracy(
    target: Target, text: Text, ids: Sequence[int], size: Size, progress: Progress
) -> Accuracy:
    parts = windows(ids, _prefix(target), size)
    logprob, versions = target.logprob(parts, lambda done: progress("reading", done, len(parts)))
    tokens = sum(part.scored for part in parts)
    return Accuracy(
        perplexity=perplexity(logprob, tokens, target.name),
        text=text.name,
        text_sha256=text.sha256,
        tokens=tokens,
        context=size.context,
        stride=size.stride,
        measured_with={"enginix": __version__, **versions},
    )


def _prefix(target: Target) -> list[int]:
    """The tokens that begin a text of this model, before those of its first word."""
    plain = target.encode("a")
    marked = target.encode("a", add_special_tokens=True)
    return marked[: marked.index(plain[0])] if plain and plain[0] in marked else []


def _answers(target: Target, progress: Progress) -> list[Answer]:
    prompts = [target.encode(prompt, add_special_tokens=True) for prompt in PROMPTS]
    texts = target.answers(
        prompts, ANSWER_TOKENS, lambda done: progress("answering", done, len(prompts))
    )
    # Servers return text, so tokens are compared as the tokenizer cuts it, on both sides.
    return [
        Answer(prompt, text, target.encode(text))
        for prompt, text in zip(PROMPTS, texts, strict=True)
    ]
