"""Replaces the server's name of a model with ours."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import orjson

from enginix.backends.openai.sse import documents

KEY = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
# Where a document names its model: at the top, or in the response or message that it starts.
PLACES = ("response", "message")


class Rename:
    """`feed` whole documents or whole events.

    The first one that names the model is parsed: the same key may stand before it, in metadata or
    in a tool's parameters. A server writes it the same way every time, so from then on it is a
    plain replacement; inside of texts its quotes are escaped.
    """

    __slots__ = ("_name", "_ours", "_theirs")

    def __init__(self, name: str) -> None:
        self._name = name
        self._ours = b'"model":' + orjson.dumps(name)
        self._theirs: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        if self._theirs is None:
            if KEY.search(data) is None:
                return data
            self._theirs = spelling_of_model(data)
            if self._theirs is None:
                return data
        return data.replace(self._theirs, self._ours)


def spelling_of_model(data: bytes) -> bytes | None:
    """The bytes of the key and the name, as this server writes them."""
    named = map(model_of, documents(data))
    name = next((name for name in named if name is not None), None)
    if name is None:
        return None
    for found in KEY.finditer(data):
        with suppress(orjson.JSONDecodeError):
            if orjson.loads(found[1]) == name:
                return found[0]
    return None


def model_of(document: Any) -> str | None:
    if not isinstance(document, dict):
        return None
    for holder in (document, *map(document.get, PLACES)):
        if isinstance(holder, dict) and isinstance(name := holder.get("model"), str):
            return name
    return None
