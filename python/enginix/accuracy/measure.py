"""Measures the perplexity that a model has on a text, wherever the model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginix import __version__
from enginix.accuracy.evaluation import Evaluation, tokens_sha256
from enginix.accuracy.text import Text
from enginix.accuracy.windows import Window, perplexity, window_size, windows
from enginix.manifest import Accuracy

Progress = Callable[[int, int], None]
"""Gets how many windows are done, and how many there are."""


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

    def logprob(
        self, windows: Sequence[Window], scored: Callable[[int], None]
    ) -> tuple[float, Mapping[str, str]]:
        """The sum over the windows' scored tokens, and the versions of what computed it."""


@dataclass(frozen=True, slots=True)
class Options:
    """None: the default."""

    context: int | None = None
    stride: int | None = None


def measure(target: Target, text: Text, options: Options, progress: Progress) -> Evaluation:
    size = window_size(options.context, options.stride, target.longest)
    ids = target.encode(text.content)
    parts = windows(ids, _prefix(target), size)
    logprob, versions = target.logprob(parts, lambda done: progress(done, len(parts)))
    tokens = sum(part.scored for part in parts)
    accuracy = Accuracy(
        perplexity=perplexity(logprob, tokens, target.name),
        text=text.name,
        text_sha256=text.sha256,
        tokens=tokens,
        context=size.context,
        stride=size.stride,
        measured_with={"enginix": __version__, **versions},
    )
    return Evaluation(
        target=target.name,
        model=target.model,
        text=text.name,
        text_sha256=text.sha256,
        tokens_sha256=tokens_sha256(ids),
        accuracy=accuracy,
    )


def _prefix(target: Target) -> list[int]:
    """The tokens that begin a text of this model, before those of its first word."""
    plain = target.encode("a")
    marked = target.encode("a", add_special_tokens=True)
    return marked[: marked.index(plain[0])] if plain and plain[0] in marked else []
