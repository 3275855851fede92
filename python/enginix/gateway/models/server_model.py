"""A model of another server that speaks the OpenAI API itself and keeps its tokenizer there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from enginix.backends.openai.server import OpenAIBackend


@dataclass(frozen=True, slots=True)
class ServerModel:
    name: str
    backend: OpenAIBackend
    engine: str
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    path: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    reasoning: str | None = None
    """The format of reasoning that the server leaves in its texts, for our parser to find."""
    tools: str | None = None
    """As `reasoning`, of tool calls."""
    starts_inside: bool = False
    """The chat template begins the reasoning, so that the model never writes its first tag."""
    images: bool = False
    """The model is known to read images."""

    @property
    def manifest(self) -> None:
        return None
