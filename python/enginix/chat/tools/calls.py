"""Assigns ids and indices to one reply's calls, and looks up the functions they name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from enginix.chat.blocks import Opening
from enginix.chat.events import ToolCallStart
from enginix.chat.tools.schema_parts import MAX_VARIANTS, BadReference, variants


def random_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a model writes its calls: the tokens it needs as text, and the blocks they open."""

    markers: tuple[str, ...]
    openings: Callable[[Calls], tuple[Opening, ...]]
    new_id: Callable[[], str] = random_call_id


class Calls:
    """The calls of one reply; `definitions` are the request's `tools`."""

    def __init__(
        self,
        new_id: Callable[[], str] = random_call_id,
        definitions: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._new_id = new_id
        self._definitions = definitions
        self._count = 0

    def start(self, name: str) -> ToolCallStart:
        self._count += 1
        return ToolCallStart(self._count - 1, self._new_id(), name)

    @property
    def names(self) -> frozenset[str]:
        """The functions that may be called."""
        functions = (definition.get("function", definition) for definition in self._definitions)
        names = (each.get("name") for each in functions if isinstance(each, Mapping))
        return frozenset(name for name in names if isinstance(name, str))

    def parameters(self, name: str) -> Mapping[str, Any]:
        """The JSON schema of a function's parameters; empty if unknown."""
        for definition in self._definitions:
            function = definition.get("function", definition)
            if isinstance(function, Mapping) and function.get("name") == name:
                schema = function.get("parameters")
                return schema if isinstance(schema, Mapping) else {}
        return {}

    def properties(self, name: str) -> Mapping[str, Any]:
        """The JSON schemas of a function's parameters by name; empty if unknown."""
        schema = self.parameters(name)
        try:
            possible = list(islice(variants(schema, schema), MAX_VARIANTS))
        except BadReference:
            possible = [dict(schema)]
        found: dict[str, Any] = {}
        for each in possible:
            properties = each.get("properties")
            found |= properties if isinstance(properties, Mapping) else {}
        return found
