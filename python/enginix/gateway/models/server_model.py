"""A model on another server that speaks the OpenAI API and has the tokenizer itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.prompt.strict_servers import StrictServer


@dataclass(frozen=True, slots=True)
class ServerModel:
    name: str
    backend: OpenAIBackend
    engine: str
    aliases: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    path: str = ""
    metrics: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    reasoning: str | None = None
    """The format of reasoning that the server leaves in its text, for our parser."""
    tools: str | None = None
    """Likewise for tool calls."""
    starts_inside: bool = False
    """The chat template opens the reasoning, so the model does not write the first tag."""
    takes_priority: bool = False
    """Its server schedules by `priority`; others refuse a request for it."""
    images: bool = False
    """The model is known to read images."""
    parent: str | None = None
    """The model that it is an adapter of, and whose server it shares."""
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What every request has, whatever the client sends: it chooses the adapter."""
    strict: StrictServer | None = None
    """What its server takes, if that is less than others do. It gets chats only, and streams."""

    async def close(self) -> None:
        await self.backend.close()

    @property
    def task(self) -> str:
        """What it does: generate, embed or rerank."""
        return self.backend.task

    @property
    def served_by(self) -> str:
        return self.parent or self.name

    @property
    def manifest(self) -> None:
        return None
