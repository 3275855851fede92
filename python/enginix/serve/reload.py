"""Makes a running profile what its files say now, by difference.

They are read and checked whole first: files with a mistake change nothing. What serves and has not
changed is not touched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from enginix.errors import EnginixError, ProcessError
from enginix.ports import require_port_free
from enginix.serve.difference import (
    Difference,
    difference,
    require_same_gateway,
    with_kept_ports,
)
from enginix.serve.environment import Environment
from enginix.serve.files import WatchedFiles, take_up_changes
from enginix.serve.gpus import check_gpus
from enginix.serve.model_entry import LOOPBACK
from enginix.serve.model_server import (
    ModelServer,
    gateway_of,
    managed_model,
    model_server,
    require_installed,
)
from enginix.serve.ports import with_free_ports
from enginix.serve.profile import Profile, check
from enginix.serve.requested_models import RequestedModels
from enginix.serve.run_directory import write_files
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import State
from enginix.serve.servers import SERVERS, ports_of
from enginix.serve.traffic import Traffic
from enginix.supervision import Configuration

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a profile comes from."""

    files: WatchedFiles
    read: Callable[[], Profile]
    """Read them again; EnginixError says what is wrong with them."""
    check_row: Callable[[Mapping[str, Any]], object]
    """Raises EnginixError for a model that gateways could not open."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A profile that is to run, checked."""

    profile: Profile
    changes: Difference
    servers: dict[str, ModelServer]
    """Of the models that change or are new."""


class Reloader:
    def __init__(
        self,
        sources: Sources,
        profile: Profile,
        environment: Environment,
        scheduler: ModelScheduler,
        requested: RequestedModels,
        traffic: Traffic,
    ) -> None:
        self._sources = sources
        self._profile = profile
        self._environment = environment
        self._scheduler = scheduler
        self._requested = requested
        self._traffic = traffic
        names = [str(path) for path in sources.files.paths]
        self._configuration = Configuration(names, sources.files.watched, round(time.time(), 3))

    @property
    def configuration(self) -> Configuration:
        """What operators are told."""
        failed = self._configuration.failed
        left = {name: why for name, why in failed.items() if not self._is_mended(name)}
        return replace(self._configuration, failed=left)

    def _is_mended(self, name: str) -> bool:
        """Whether a model is as the file has it after all, or an operator has unloaded it."""
        model = self._scheduler.models.get(name)
        wanted = next((one for one in self._profile.models if one.name == name), None)
        if model is None or wanted is None:
            return model is None and wanted is None
        return model.entry == wanted and model.server.state in (State.LOADED, State.IDLE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take changes up until the block ends."""
        task = asyncio.create_task(
            take_up_changes(self._sources.files, self._read, self._take_up, self._refuse)
        )
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _refuse(self, why: str) -> None:
        self._tell(error=why, changing=None)

    async def _take_up(self, plan: Plan) -> None:
        # What is not changed now is as it was, and so are the reasons.
        touched = {*plan.servers, *plan.changes.removed}
        failed = {
            name: why for name, why in self.configuration.failed.items() if name not in touched
        }
        self._tell(error=None, failed=failed, changing=str(plan.changes) or None)
        files = " and ".join(self._configuration.files) or "no file"
        logger.info("read %s again: %s", files, plan.changes or "nothing has changed")
        await self._apply(plan.profile, plan.changes, plan.servers)

    def _read(self) -> Plan:
        """The new profile, checked whole; it starts and writes nothing."""
        old = self._profile
        new = with_kept_ports(self._sources.read(), old.models)
        new = replace(new, models=with_free_ports(new.models))
        check(new, new.name)
        require_same_gateway(old.gateway, new.gateway)
        changes = difference(old, new)
        if changes:
            for warning in check_gpus(new):
                logger.warning("%s", warning)
        own = {port for entry in old.models for port in ports_of(entry).values()}
        servers = {}
        for entry in new.models:
            if entry.name not in (*changes.redefined, *changes.changed, *changes.added):
                continue
            for name, port in ports_of(entry).items():
                if port not in own:
                    require_port_free(LOOPBACK, port, f"--set {entry.name}.{name}=N")
            if entry.replicas_here:
                SERVERS[entry.engine].require_machine()
            require_installed(entry, self._environment)
            servers[entry.name] = server = self._server(new, entry.name)
            self._sources.check_row(server.row)
        return Plan(new, changes, servers)

    def _server(self, profile: Profile, name: str) -> ModelServer:
        """With the ports that its replicas have now."""
        (entry,) = (one for one in profile.models if one.name == name)
        model = self._scheduler.models.get(name)
        ports = []
        if model is not None and model.entry.engine == entry.engine:
            ports = [one.server.process.spec.ports for one in model.server.replicas]
        return model_server(profile, entry, self._environment, ports)

    async def _apply(
        self, new: Profile, changes: Difference, servers: Mapping[str, ModelServer]
    ) -> None:
        scheduler, drain = self._scheduler, new.drain_seconds
        scheduler.rest, scheduler.drain = new.min_residency_seconds, drain
        self._profile = self._requested.profile = new
        if not changes:
            return
        wanted = {name for name in servers if self._is_wanted(servers[name])}
        for name in changes.redefined:
            await self._step(name, "redefined", self._redefine(servers[name], name in wanted))
        await asyncio.gather(
            *(
                self._step(name, "removed", scheduler.remove(name, drain=drain))
                for name in changes.removed
            )
        )
        for name in changes.first_ended:
            await self._step(name, "ended", scheduler.unload(name, drain=drain))
        for name in changes.changed:
            await self._step(name, "changed", self._change(servers[name], name in wanted))
        for name in changes.added:
            await self._step(name, "added", self._change(servers[name], name in wanted))
        scheduler.arrange([entry.name for entry in new.models])
        self._write_rows()
        await scheduler.subscribers.all_seen()
        self._tell(since=round(time.time(), 3), changing=None)

    def _is_wanted(self, server: ModelServer) -> bool:
        """Whether it is to be loaded: one that an operator has unloaded stays so."""
        entry, model = server.entry, self._scheduler.models.get(server.entry.name)
        if model is None or model.is_wanted:
            return model is not None or not entry.on_demand
        return model.entry.on_demand and not entry.on_demand

    async def _step(self, name: str, what: str, work: Awaitable[None]) -> None:
        """A model that fails does not keep the others from changing."""
        logger.info("%s is being %s", name, what)
        self._tell(changing=f"{name} is being {what}")
        try:
            await work
        except EnginixError as error:
            logger.error("%s was not %s: %s", name, what, error)
            self._tell(failed={**self._configuration.failed, name: str(error)})

    async def _redefine(self, server: ModelServer, load: bool) -> None:
        name = server.entry.name
        self._scheduler.redefine(name, server.entry, server.row)
        self._scheduler.find(name).server.endpoints = server.endpoints
        self._write_rows()
        if load:
            await self._scheduler.load(name)

    async def _change(self, server: ModelServer, load: bool) -> None:
        """Restart or add it; one that was loaded by a request may have the name already."""
        name = server.entry.name
        for replica in server.replicas:
            write_files(replica.command)
        model = managed_model(server, self._environment, self._traffic)
        if name in self._scheduler.models:
            drain = self._profile.drain_seconds
            await self._scheduler.change(name, model, drain=drain, load=load)
        else:
            self._scheduler.add(model)
        self._write_rows()
        if load:
            await self._scheduler.load(name)

    def _write_rows(self) -> None:
        """For gateway processes that start from now on; they follow the supervisor then."""
        names = {entry.name for entry in self._profile.models}
        rows = [one.row for name, one in self._scheduler.models.items() if name in names]
        try:
            write_files(gateway_of(self._profile, rows, self._environment))
        except ProcessError as error:
            logger.error("%s", error)

    def _tell(self, **changes: Any) -> None:
        self._configuration = replace(self._configuration, **changes)
