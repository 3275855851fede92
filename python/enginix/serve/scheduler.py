"""Which models are loaded: loads one, ends one, makes room, and takes none away in use.

Models of a profile stay once they are loaded, unless they are `on_demand` or have a `ttl_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from enginix.errors import BackendUnavailable, ModelNotFound, RequestError, StartFailed
from enginix.serve.profile import ModelEntry, too_much
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import State
from enginix.serve.subscribers import Subscribers

logger = logging.getLogger(__name__)

EXPIRY_POLL = 0.5


class Availability(Enum):
    """What a gateway does with a request for the model."""

    OPEN = "open"
    """Pass it on, whatever the server's state: it may be about to be back."""
    ON_DEMAND = "on_demand"
    """Have the model loaded first; the client waits."""
    CLOSED = "closed"
    """Refuse it."""


@dataclass
class ManagedModel:
    """A model that can be loaded here. Only `ModelScheduler` changes it."""

    entry: ModelEntry
    keeper: RestartingServer
    row: dict[str, Any]
    """What gateways are told of it."""
    presence: Availability = Availability.OPEN
    reason: str = ""
    """Why it is closed."""
    used: float = field(default_factory=time.monotonic)
    begun: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who loads or ends it."""

    @property
    def is_loaded(self) -> bool:
        """Whether it takes memory, or soon will."""
        return self.keeper.child.state in (State.LOADING, State.LOADED)

    def described(self) -> dict[str, Any]:
        return {**self.row, "presence": self.presence.value, "reason": self.reason}


class ModelScheduler:
    """`rest` is for how long a loaded model makes no room, `drain` what its last answers get."""

    def __init__(
        self, residents: Iterable[ManagedModel], *, rest: float = 30.0, drain: float = 30.0
    ) -> None:
        self.residents = {resident.entry.name: resident for resident in residents}
        self.followers = Subscribers()
        self._rest = rest
        self._drain = drain
        # Room that was made for one model must not be taken by another.
        self._room = asyncio.Lock()
        for resident in self.residents.values():
            if resident.entry.on_demand:
                resident.presence = Availability.ON_DEMAND
        self._tell()

    def find(self, name: str) -> ManagedModel:
        if name not in self.residents:
            raise ModelNotFound(name, self.residents)
        return self.residents[name]

    def add(self, resident: ManagedModel) -> None:
        """One more model, not loaded yet; or another one of the same name, which has ended."""
        resident.presence, resident.reason = Availability.CLOSED, "it has not been loaded yet"
        self.residents[resident.entry.name] = resident
        self._tell()

    async def load(self, name: str, *, by_request: bool = False) -> None:
        """Return when it serves. StartFailed, with its last words, when it does not.

        What does not fit beside it is ended first, unless it is in use: BackendUnavailable. A
        client's request alone ends none but those `on_demand`.
        """
        resident = self.find(name)
        if resident.presence is Availability.OPEN and resident.keeper.child.state is State.LOADED:
            return
        async with self._room:
            await self._make_room(resident, by_request)
            async with resident.turn:
                await self._load(resident)

    async def unload(self, name: str, *, drain: float) -> None:
        """End it once its running answers have; break off those that last longer than `drain`."""
        resident = self.find(name)
        if resident.keeper.child.state is State.LOADING:
            # Whoever loads it has its turn, and hears of it.
            await resident.keeper.unload()
        async with resident.turn:
            await self._close(resident, f"{name} is being unloaded; load it again", drain)
            await self._end(resident, f"{name} is not loaded; load it with POST /v1/models/load")

    async def expire(self) -> None:
        """End what nobody has asked for in its time to live; returns never."""
        while True:
            await asyncio.sleep(EXPIRY_POLL)
            for resident in list(self.residents.values()):
                self._note_use(resident)
                if self._has_expired(resident) and not resident.turn.locked():
                    logger.info("%s is ended: nobody has asked for it", resident.entry.name)
                    async with resident.turn:
                        await self._leave(resident, self._drain, "nobody has asked for it")

    async def close(self) -> None:
        await asyncio.gather(*(one.keeper.unload() for one in self.residents.values()))

    async def _load(self, resident: ManagedModel) -> None:
        name = resident.entry.name
        logger.info("%s is being loaded", name)
        try:
            # One that fails is tried again by the next request, and takes no memory until then.
            await resident.keeper.load(persistent=not resident.entry.on_demand)
        except StartFailed:
            if not resident.entry.on_demand:
                self._set(resident, Availability.OPEN)
            raise
        resident.used = time.monotonic()
        self._set(resident, Availability.OPEN)

    async def _make_room(self, resident: ManagedModel, by_request: bool) -> None:
        for rival in self._rivals(resident, by_request):
            until_rested = rival.keeper.child.since + self._rest - time.time()
            if until_rested > 0:
                await asyncio.sleep(until_rested)
            name = rival.entry.name
            async with rival.turn:
                left = await self._leave(
                    rival, self._drain, f"{name} made room for {resident.entry.name}; load it again"
                )
            if left:
                raise BackendUnavailable(
                    f"{resident.entry.name} needs the memory that {name} has, which is in use by "
                    f"{left} requests; ask again later"
                )

    def _rivals(self, resident: ManagedModel, by_request: bool) -> list[ManagedModel]:
        """Who has to end so that it fits, those first that are longest without a request."""
        loaded = [one for one in self.residents.values() if one.is_loaded and one is not resident]
        for one in loaded:
            self._note_use(one)
        leaving: list[ManagedModel] = []
        candidates = [one for one in loaded if one.entry.on_demand or not by_request]
        candidates.sort(key=lambda one: (not one.entry.on_demand, one.used))
        for rival in candidates:
            staying = [one.entry for one in loaded if one not in leaving]
            if not too_much([*staying, resident.entry]):
                break
            if _share_a_gpu(rival.entry, resident.entry):
                leaving.append(rival)
        staying = [one.entry for one in loaded if one not in leaving]
        if excess := too_much([*staying, resident.entry]):
            raise RequestError(
                f"{resident.entry.name} does not fit beside what stays loaded: {excess}; "
                "unload one of them first",
                code="no_room",
            )
        return leaving

    async def _leave(self, resident: ManagedModel, drain: float, reason: str) -> int:
        """End it unless it is in use; how many requests use it then."""
        before, why = resident.presence, resident.reason
        left = await self._close(resident, reason, drain)
        if left:
            self._set(resident, before, why)
        else:
            await self._end(resident, reason)
        return left

    async def _close(self, resident: ManagedModel, reason: str, drain: float) -> int:
        """Take no more requests for it; how many still run after so many seconds."""
        before, why = resident.presence, resident.reason
        name = resident.entry.name
        try:
            self._set(resident, *self._absent(resident, reason))
            left = await self.followers.drained(name, drain)
        except BaseException:
            self._set(resident, before, why)
            raise
        if left:
            logger.warning("%s: %d requests still run after %g s", name, left, drain)
        return left

    async def _end(self, resident: ManagedModel, reason: str) -> None:
        await resident.keeper.unload()
        self._set(resident, *self._absent(resident, reason))

    def _absent(self, resident: ManagedModel, reason: str) -> tuple[Availability, str]:
        return Availability.ON_DEMAND if resident.entry.on_demand else Availability.CLOSED, reason

    def _note_use(self, resident: ManagedModel) -> None:
        name = resident.entry.name
        begun = self.followers.begun(name)
        if begun != resident.begun or self.followers.running(name):
            resident.begun, resident.used = begun, time.monotonic()

    def _has_expired(self, resident: ManagedModel) -> bool:
        ttl = resident.entry.ttl_seconds
        unused = time.monotonic() - resident.used
        return 0 < ttl < unused and resident.keeper.child.state is State.LOADED

    def _set(self, resident: ManagedModel, presence: Availability, reason: str = "") -> None:
        resident.presence, resident.reason = presence, reason
        self._tell()

    def _tell(self) -> None:
        self.followers.tell([one.described() for one in self.residents.values()])


def _share_a_gpu(one: ModelEntry, other: ModelEntry) -> bool:
    """No GPU named means all of them."""
    return not one.gpus or not other.gpus or bool({*one.gpus} & {*other.gpus})
