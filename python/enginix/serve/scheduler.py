"""Decides which models are loaded: loads one, ends one, makes room, and ends none that is in use.

Models of a profile stay once they are loaded, unless they are `on_demand` or have a `ttl_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from enginix.errors import BackendUnavailable, ModelNotFound, RequestError, StartFailed
from enginix.serve.liveness import CLOCK, Clock
from enginix.serve.managed_model import ManagedModel, rivals_of
from enginix.serve.model_entry import ModelEntry
from enginix.serve.replicas import Replica
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import State
from enginix.serve.subscribers import Subscribers
from enginix.supervision import Availability, replica_key

logger = logging.getLogger(__name__)

EXPIRY_POLL = 0.5


class ModelScheduler:
    """`rest`: seconds for which a loaded model makes no room. `drain`: seconds that its running
    requests get to finish then.
    """

    def __init__(
        self,
        models: Iterable[ManagedModel],
        *,
        rest: float = 30.0,
        drain: float = 30.0,
        clock: Clock = CLOCK,
    ) -> None:
        self.models = {model.entry.name: model for model in models}
        self.subscribers = Subscribers()
        self.rest = rest
        self.drain = drain
        self._clock = clock
        # Room that was made for one model must not be taken by another.
        self._making_room = asyncio.Lock()
        for model in self.models.values():
            model.used = clock.now()
            if model.entry.on_demand:
                model.availability = model.absent
        self._tell()

    @property
    def loaded(self) -> list[str]:
        """The names of the models that are served now."""
        return [name for name, one in self.models.items() if one.server.state is State.LOADED]

    def find(self, name: str) -> ManagedModel:
        if name not in self.models:
            raise ModelNotFound(name, self.models)
        return self.models[name]

    def add(self, model: ManagedModel) -> None:
        """Add a model that is not loaded yet, or replace one of that name that has ended."""
        model.used = self._clock.now()
        model.revision = self._next_revision()
        self.models[model.entry.name] = model
        self._set(model, model.absent, "it has not been loaded yet")

    def arrange(self, names: Sequence[str]) -> None:
        """Tell gateways of these models first, in this order."""
        first = {name: self.models[name] for name in names if name in self.models}
        self.models = {**first, **self.models}
        self._tell()

    def redefine(self, name: str, entry: ModelEntry, row: dict[str, Any]) -> None:
        """Change what its server does not see; it stays as it is."""
        model = self.find(name)
        was_absent = model.availability is model.absent and not model.is_wanted
        self._define(model, entry, row)
        self._set(model, model.absent if was_absent else model.availability, model.reason)

    async def change(self, name: str, new: ManagedModel, *, drain: float, load: bool) -> None:
        """Make it the model `new`, after its running requests; those that come wait if it is to
        `load`, which is the caller's next step.

        Servers that can are replaced one after the other, and serve when this returns; StartFailed
        when one is not ready, and the others stay as they are.
        """
        model = self.find(name)
        # The caller that loads it holds the lock, and gets StartFailed.
        await model.server.stop_loading()
        async with model.lock:
            if model.can_roll_to(new):
                self._define(model, new.entry, new.row)
                for replica in model.server.worst_first():
                    await self._replace(model, replica, drain, new.server.at(replica.address))
                return
            waiting = Availability.ON_DEMAND if load else new.absent
            await self._close(model, waiting, f"{name} is being changed", drain)
            await model.server.unload()
            self._define(model, new.entry, new.row)
            model.server = new.server
            self._set(model, waiting, f"{name} has changed and is not loaded yet")

    async def remove(self, name: str, *, drain: float) -> None:
        """End it as `unload` does, and forget it."""
        await self.unload(name, drain=drain, why=f"{name} is being removed")
        del self.models[name]
        self._tell()

    async def load(self, name: str, *, by_request: bool = False) -> None:
        """Return when it serves; StartFailed quotes its log when it does not.

        Models that do not fit beside it are ended first; BackendUnavailable if one is in use. With
        `by_request`, a client's inference request is the cause: that ends only `on_demand` models.
        """
        model = self.find(name)
        if model.availability is Availability.OPEN and model.server.state is State.LOADED:
            return
        async with self._making_room:
            await self._make_room(model, by_request)
            async with model.lock:
                # It may have been removed meanwhile.
                await self._load(self.find(name))

    async def unload(self, name: str, *, drain: float, why: str = "") -> None:
        """End it once its running requests have; after `drain` seconds, abort them."""
        model = self.find(name)
        # The caller that loads it holds the lock, and gets StartFailed.
        await model.server.stop_loading()
        async with model.lock:
            reason = why or f"{name} is being unloaded; load it again"
            await self._close(model, model.absent, reason, drain)
            await self._end(model, f"{name} is not loaded; load it with POST /v1/models/load")

    async def restart(self, name: str, *, drain: float) -> None:
        """Replace its servers, one after the other; return when all of them serve again.

        Each gets no new requests first, and `drain` seconds to finish the running ones. Requests
        for a model with one server wait meanwhile. StartFailed when one is not ready again; the
        others stay as they are.
        """
        model = self.find(name)
        # Nothing else may take its memory meanwhile.
        async with self._making_room, model.lock:
            if not model.server.replicas:
                raise RequestError(
                    f"{name} has no server here; restart it where it runs", code="not_here"
                )
            if model.availability is not Availability.OPEN:
                raise RequestError(
                    f"{name} is not loaded; load it with POST /v1/models/load", code="not_loaded"
                )
            logger.info("%s is being restarted", name)
            if not model.entry.has_several:
                await self._restart_alone(model, drain)
                return
            for replica in model.server.worst_first():
                await self._replace(model, replica, drain)

    async def _restart_alone(self, model: ManagedModel, drain: float) -> None:
        reason = f"{model.entry.name} is being restarted"
        # As if it were on demand: gateways ask for it to be loaded, and wait.
        await self._close(model, Availability.ON_DEMAND, reason, drain)
        await model.server.unload()
        await self._load(model)

    async def _replace(
        self,
        model: ManagedModel,
        replica: Replica,
        drain: float,
        by: RestartingServer | None = None,
    ) -> None:
        """By another server, or by itself."""
        name = replica.server.name
        if not model.server.others_serve(replica):
            raise BackendUnavailable(
                f"{name} was not restarted: no other server of {model.entry.name} serves now; "
                "see its log, and restart again"
            )
        try:
            replica.resting = True
            self._tell()
            key = replica_key(model.entry.name, replica.address)
            if left := await self.subscribers.drained(key, drain):
                logger.warning("%s: %d requests still run after %g s", name, left, drain)
            await replica.server.unload()
            replica.server = by or replica.server
            await replica.server.load()
        finally:
            replica.resting = False
            self._tell()

    async def expire(self) -> None:
        """End models that had no request for their time to live; never returns."""
        while True:
            await self._clock.sleep(EXPIRY_POLL)
            for model in list(self.models.values()):
                self._note_use(model)
                if self._has_expired(model) and not model.lock.locked():
                    logger.info("%s is ended: its ttl_seconds have passed", model.entry.name)
                    async with model.lock:
                        await self._leave(model, self.drain, "its ttl_seconds have passed")

    async def close(self) -> None:
        await asyncio.gather(*(one.server.unload() for one in self.models.values()))

    async def _load(self, model: ManagedModel) -> None:
        name = model.entry.name
        logger.info("%s is being loaded", name)
        try:
            # One that fails is tried again by the next request, and takes no memory until then.
            await model.server.load(persistent=not model.entry.on_demand)
        except StartFailed:
            if not model.entry.on_demand:
                self._set(model, Availability.OPEN)
            raise
        model.used = self._clock.now()
        self._set(model, Availability.OPEN)

    async def _make_room(self, model: ManagedModel, by_request: bool) -> None:
        for one in filter(lambda one: one.is_loaded, self.models.values()):
            self._note_use(one)
        for rival in rivals_of(model, self.models.values(), by_request):
            until_rested = rival.server.changed_at + self.rest - self._clock.now()
            if until_rested > 0:
                await self._clock.sleep(until_rested)
            name = rival.entry.name
            async with rival.lock:
                left = await self._leave(
                    rival, self.drain, f"{name} made room for {model.entry.name}; load it again"
                )
            if left:
                raise BackendUnavailable(
                    f"{model.entry.name} needs the memory that {name} has, which is in use by "
                    f"{left} requests; ask again later"
                )

    async def _leave(self, model: ManagedModel, drain: float, reason: str) -> int:
        """End it unless requests still run after `drain` seconds; return how many do."""
        before, why = model.availability, model.reason
        left = await self._close(model, model.absent, reason, drain)
        if left:
            self._set(model, before, why)
        else:
            await self._end(model, reason)
        return left

    async def _close(
        self, model: ManagedModel, availability: Availability, reason: str, drain: float
    ) -> int:
        """Send it no new requests; return how many still run after `drain` seconds."""
        before, why = model.availability, model.reason
        name = model.entry.name
        try:
            self._set(model, availability, reason)
            left = await self.subscribers.drained(name, drain)
        except BaseException:
            self._set(model, before, why)
            raise
        if left:
            logger.warning("%s: %d requests still run after %g s", name, left, drain)
        return left

    async def _end(self, model: ManagedModel, reason: str) -> None:
        await model.server.unload()
        self._set(model, model.absent, reason)

    def _define(self, model: ManagedModel, entry: ModelEntry, row: dict[str, Any]) -> None:
        if row != model.row:
            model.revision = self._next_revision()
        model.entry, model.row = entry, row

    def _next_revision(self) -> int:
        """Unlike that of any row before: a model's next news have it as their generation."""
        return self.subscribers.generation + 1

    def _note_use(self, model: ManagedModel) -> None:
        name = model.entry.name
        started = self.subscribers.started(name)
        if started != model.started or self.subscribers.running(name):
            model.started, model.used = started, self._clock.now()

    def _has_expired(self, model: ManagedModel) -> bool:
        ttl = model.entry.ttl_seconds
        unused = self._clock.now() - model.used
        return 0 < ttl < unused and model.server.state is State.LOADED

    def _set(self, model: ManagedModel, availability: Availability, reason: str = "") -> None:
        model.availability, model.reason = availability, reason
        self._tell()

    def _tell(self) -> None:
        self.subscribers.tell([one.news() for one in self.models.values()])
