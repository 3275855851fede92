"""Which tensors a model has, and how its generation of TensorRT-LLM calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from enginix.errors import BackendUnavailable

# TensorRT-LLM renamed these after 0.19, silently: (new name, old name).
RENAMED = {"seed": "random_seed", "min_tokens": "min_length"}


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The tensors of one model."""

    model: str
    inputs: frozenset[str]
    outputs: frozenset[str]

    def input(self, name: str) -> str | None:
        """The model's own name for an input, or None when it has no such input."""
        if name in self.inputs:
            return name
        older = RENAMED.get(name)
        return older if older in self.inputs else None


class Asked(Protocol):
    async def dialect(self, model: str) -> TensorNames: ...


class TensorNamesOfModel:
    """Asks for a model's tensors once, however many requests want to know at the same time.

    A `given` dialect is never asked for.
    """

    def __init__(self, servers: Sequence[Asked], model: str, given: TensorNames | None) -> None:
        self._servers = servers
        self._model = model
        self._fixed = given is not None
        self._known = given
        self._doubted = given is None
        self._asking: asyncio.Task[TensorNames] | None = None

    async def current(self) -> TensorNames:
        if self._known is not None and not self._doubted:
            return self._known
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        asking = self._asking
        # One request that is cancelled must not take the answer from the others.
        await asyncio.wait([asking])
        try:
            return asking.result()
        except BackendUnavailable:
            if self._known is None:
                raise
            return self._known

    def invalidate(self) -> None:
        """The model went away: ask again when it is next used."""
        self._doubted = not self._fixed

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> TensorNames:
        try:
            self._known = await self._ask_servers()
            self._doubted = False
            return self._known
        finally:
            self._asking = None

    async def _ask_servers(self) -> TensorNames:
        for server in self._servers[:-1]:
            try:
                return await server.dialect(self._model)
            except BackendUnavailable:
                continue
        return await self._servers[-1].dialect(self._model)
