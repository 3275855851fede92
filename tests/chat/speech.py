"""Feeds text to a parser in chunks and collects its events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from enginix.chat.events import Event, Message, collect
from enginix.chat.reply import reply_parser

RECORDINGS = Path(__file__).parent.parent / "recordings"
DEMO = (
    Path(__file__).parent.parent.parent / "python" / "enginix" / "catalog" / "checkpoints" / "demo"
)

every_chunk_size = pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])


def pieces(text: str, chunk: int) -> Iterator[str]:
    for start in range(0, len(text), chunk):
        yield text[start : start + chunk]


def events_of(
    parts: Iterator[str] | Sequence[str],
    *,
    reasoning: str | None = "think-tags",
    tools: str | None = "hermes-json",
    starts_inside: bool = False,
    definitions: Sequence[dict[str, Any]] = (),
) -> list[Event]:
    numbers = count()
    parser = reply_parser(
        reasoning,
        tools,
        starts_inside=starts_inside,
        tools_wanted=tools is not None,
        definitions=definitions,
        new_id=lambda: f"call_{next(numbers)}",
    )
    events = [event for part in parts for event in parser.feed(part)]
    return events + parser.finish()


def heard(text: str, chunk: int = 1000, **how: Any) -> Message:
    return collect(events_of(pieces(text, chunk), **how))


def calls(message: Message) -> list[tuple[str, Any]]:
    """The calls as a client reads them: names, and arguments as JSON or as truncated text."""
    return [
        (call.name, json.loads(call.arguments) if call.whole else call.arguments)
        for call in message.tool_calls
    ]


def function(name: str, **properties: Any) -> dict[str, Any]:
    """A function definition for a request's `tools`."""
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": schema}}
