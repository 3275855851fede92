"""What `serve/` is told of the user's environment: only the command line reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from enginix.catalog.load import ModelSpec


@dataclass(frozen=True, slots=True)
class Environment:
    home: Path
    """Where enginix keeps runtimes and engines."""
    logs: Path
    """The directory of this run's logs."""
    enginix: Sequence[str]
    """The command that starts this program again."""
    runtime: Callable[[str], Path | None]
    """Kind of runtime -> the root that the user has named for it."""
    find_engine: Callable[[str], Path]
    """Name -> its engine's directory; NotAnEngine says how to build it."""
    find_checkpoint: Callable[[ModelSpec], Path]
    """Model -> its checkpoint's directory; NotACheckpoint says where it was looked for."""
    gateway_variables: Mapping[str, str] = field(repr=False)
    """What the gateway's process gets as its environment."""
    server_variables: Callable[[Sequence[str], bool], Mapping[str, str]]
    """What a server gets: with these secrets, and the hub's if it downloads from there."""
