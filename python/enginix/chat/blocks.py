"""The interface between a reply and the formats in it: a block is text between two markers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from enginix.chat.events import Event


class Block(Protocol):
    """Turns the text after its opening marker into events, until it is `done`."""

    done: bool
    rest: str
    """Once done: the text already fed that comes after the block."""

    def feed(self, text: str) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """A marker that opens a block; `only_first` ones count only before any answer text."""

    marker: str
    begin: Callable[[], Block]
    only_first: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """How a model marks its reasoning: the tokens it needs as text, and the block."""

    markers: tuple[str, ...]
    opening: Opening


def partial_marker(text: str, marker: str) -> int:
    """How many characters at the end of `text` may be the start of `marker`."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0
