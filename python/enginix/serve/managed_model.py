"""A model that can be loaded here, and which models leave to make room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from enginix.errors import RequestError
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import too_much
from enginix.serve.replicas import ReplicaGroup
from enginix.serve.server_process import State
from enginix.supervision import Availability, ModelNews


@dataclass
class ManagedModel:
    """Only `ModelScheduler` changes it."""

    entry: ModelEntry
    server: ReplicaGroup
    row: dict[str, Any]
    """What gateways are told of it."""
    availability: Availability = Availability.OPEN
    reason: str = ""
    """Why it is closed."""
    used: float = 0.0
    """When its last request was seen, or when it was loaded, by the scheduler's clock."""
    started: int = 0
    """Requests that had started by then."""
    revision: int = 0
    """Differs for each row that it has had; 0: the one it began with."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is loaded or ended."""

    @property
    def is_loaded(self) -> bool:
        """Whether it takes memory, or soon will."""
        is_up = self.server.state in (State.LOADING, State.LOADED)
        return is_up and bool(self.server.replicas)

    @property
    def is_wanted(self) -> bool:
        """Whether it is loaded, is being loaded, or has failed and is tried again."""
        return self.server.state is not State.IDLE

    @property
    def absent(self) -> Availability:
        """What it is for gateways while it is not loaded."""
        return Availability.ON_DEMAND if self.entry.on_demand else Availability.CLOSED

    def can_roll_to(self, new: ManagedModel) -> bool:
        """Whether its servers can be replaced by those of `new` one after the other.

        Gateways read the tokens of all of them in one way, which its row says.
        """
        same = [one.address for one in self.server.replicas] == [
            one.address for one in new.server.replicas
        ]
        serves = self.availability is Availability.OPEN and self.server.state is State.LOADED
        return serves and same and self.entry.has_several and self.row == new.row

    def news(self) -> ModelNews:
        resting = [one.address for one in self.server.replicas if one.resting]
        return ModelNews(self.row, self.availability, self.reason, resting, self.revision)


def rivals_of(
    model: ManagedModel, models: Iterable[ManagedModel], by_request: bool
) -> list[ManagedModel]:
    """The models to end so that it fits, the least recently used first.

    With `by_request` only `on_demand` models; RequestError if that is not enough.
    """
    loaded = [one for one in models if one.is_loaded and one is not model]
    leaving: list[ManagedModel] = []
    candidates = [one for one in loaded if one.entry.on_demand or not by_request]
    candidates.sort(key=lambda one: (not one.entry.on_demand, one.used))
    for rival in candidates:
        staying = [one.entry for one in loaded if one not in leaving]
        if not too_much([*staying, model.entry]):
            break
        if _share_a_gpu(rival.entry, model.entry):
            leaving.append(rival)
    staying = [one.entry for one in loaded if one not in leaving]
    if excess := too_much([*staying, model.entry]):
        raise RequestError(
            f"{model.entry.name} does not fit beside what stays loaded: {excess}; "
            "unload one of them first",
            code="no_room",
        )
    return leaving


def _share_a_gpu(one: ModelEntry, other: ModelEntry) -> bool:
    """No GPU named means all of them."""
    return not one.gpus or not other.gpus or bool({*one.gpus} & {*other.gpus})
