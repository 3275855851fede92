"""What `serve/` needs of the user's environment, which only the command line reads."""

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
    """The command that runs this same enginix."""
    runtime: Callable[[str], Path | None]
    """Kind of runtime -> the root that the user named for it."""
    find_engine: Callable[[str], Path]
    """Name -> its engine's directory; NotAnEngine says how to build it."""
    find_checkpoint: Callable[[ModelSpec], Path]
    """Model -> its checkpoint's directory; NotACheckpoint says where this looked."""
    gateway_variables: Mapping[str, str] = field(repr=False)
    """The environment of the gateway's process."""
    server_variables: Callable[[Sequence[str], bool], Mapping[str, str]]
    """What a server gets: with these secrets, and the hub's if it downloads from there."""
