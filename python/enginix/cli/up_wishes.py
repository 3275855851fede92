"""Makes servers for models that are wanted while a profile runs."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix.cli import environment
from enginix.cli.up_servers import (
    require_engine,
    require_program,
    resident_of,
    server_of,
    write_files,
)
from enginix.errors import EngineError, RequestError, RuntimeMissing
from enginix.serve.commands import LOOPBACK
from enginix.serve.load_request import LoadRequest, entry_of
from enginix.serve.profile import ModelEntry, Profile
from enginix.serve.scheduler import ManagedModel, ModelScheduler
from enginix.serve.traffic import Traffic

PORTS = ("http_port", "grpc_port", "metrics_port")


class LoadRequests:
    def __init__(self, profile: Profile, residency: ModelScheduler, traffic: Traffic) -> None:
        self._profile = profile
        self._residency = residency
        self._traffic = traffic
        home = environment.cache_home()
        # What enginix made itself may always be loaded.
        own = [home / "engines", home / "checkpoints"]
        self._roots = [*map(Path, profile.model_roots), *own]

    async def resident(self, wish: dict[str, Any]) -> ManagedModel:
        """The model as it is wanted, added or changed but not loaded; RequestError says why not."""
        there = {name: one.entry for name, one in self._residency.residents.items()}
        entry = entry_of(LoadRequest(**wish), there, self._roots)
        if there.get(entry.name) == entry:
            return self._residency.find(entry.name)
        resident = self._made(with_free_ports(entry))
        if entry.name in there:
            await self._residency.unload(entry.name, drain=self._profile.drain_seconds)
        self._residency.add(resident)
        return resident

    def _made(self, entry: ModelEntry) -> ManagedModel:
        try:
            require_program(entry)
            require_engine(entry)
            server = server_of(self._profile, entry)
        except (RuntimeMissing, EngineError) as error:
            raise RequestError(str(error), param="model", code="not_installed") from None
        write_files(server.command)
        return resident_of(server, self._traffic)


def with_free_ports(entry: ModelEntry) -> ModelEntry:
    """Free ones for those it has not chosen."""
    wanted = [name for name in PORTS if getattr(entry, name) == 0]
    listeners = [socket.create_server((LOOPBACK, 0)) for _ in wanted]
    try:
        ports = {
            name: listener.getsockname()[1]
            for name, listener in zip(wanted, listeners, strict=True)
        }
    finally:
        for listener in listeners:
            listener.close()
    return replace(entry, **ports)
