"""Which tensors a model has, and their names in its version of TensorRT-LLM."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from enginix.errors import BackendUnavailable

# TensorRT-LLM renamed these after 0.19, silently: (new name, old name).
RENAMED = {"seed": "random_seed", "min_tokens": "min_length"}
# What a model states about its cache of a prompt, and the input that requests it.
REUSED, STATISTICS = "kv_cache_reused_blocks", "return_perf_metrics"
# The log probabilities of a prompt's tokens, and at each place the likeliest tokens and theirs.
PROMPT_OUTPUTS = ("prompt_log_probs", "prompt_top_log_prob_ids", "prompt_top_log_probs")


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The tensors of one model."""

    model: str
    inputs: frozenset[str]
    outputs: frozenset[str]

    def input(self, name: str) -> str | None:
        """The model's own name for an input, or None if it has no such input."""
        if name in self.inputs:
            return name
        older = RENAMED.get(name)
        return older if older in self.inputs else None

    @property
    def states_reuse(self) -> bool:
        """Whether it says on request how much of a prompt its cache held."""
        return STATISTICS in self.inputs and REUSED in self.outputs


class Control(Protocol):
    async def tensor_names(self, model: str) -> TensorNames: ...


class TensorNamesOfModel:
    """Queries a model's tensors once, however many requests need them at the same time.

    With `given`, it never queries.
    """

    def __init__(self, servers: Sequence[Control], model: str, given: TensorNames | None) -> None:
        self._servers = servers
        self._model = model
        self._fixed = given is not None
        self._known = given
        self._stale = given is None
        self._query: asyncio.Task[TensorNames] | None = None

    async def current(self) -> TensorNames:
        if self._known is not None and not self._stale:
            return self._known
        if self._query is None:
            self._query = asyncio.get_running_loop().create_task(self._run_query())
        query = self._query
        # Cancelling one request must not cancel the query for the others.
        await asyncio.wait([query])
        try:
            return query.result()
        except BackendUnavailable:
            if self._known is None:
                raise
            return self._known

    def invalidate(self) -> None:
        """The model went away: query again on its next use."""
        self._stale = not self._fixed

    def close(self) -> None:
        if self._query is not None:
            self._query.cancel()

    async def _run_query(self) -> TensorNames:
        try:
            self._known = await self._query_servers()
            self._stale = False
            return self._known
        finally:
            self._query = None

    async def _query_servers(self) -> TensorNames:
        for server in self._servers[:-1]:
            try:
                return await server.tensor_names(self._model)
            except BackendUnavailable:
                continue
        return await self._servers[-1].tensor_names(self._model)
