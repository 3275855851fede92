"""The supervisor's control socket; enginix.supervision has its calls.

Only this user can open it. Its client is gateway/supervision/client.py, which adds HTTP and API
keys.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix import supervision
from enginix.errors import EnginixError, RequestError, UsageError
from enginix.memory import resident_memory
from enginix.process import descendants
from enginix.serve.gpu_memory import GpuMemory
from enginix.serve.managed_model import ManagedModel
from enginix.serve.restart import RestartingServer
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import State
from enginix.supervision import (
    Call,
    Changed,
    Configuration,
    Load,
    LoadRequest,
    Log,
    LogTail,
    Restart,
    ServerStatus,
    Status,
    Statuses,
    Unload,
)

# Finds or adds the model of a load request; raises EnginixError when that cannot be.
FindOrAdd = Callable[[LoadRequest], Awaitable[ManagedModel]]

logger = logging.getLogger(__name__)

# The kernel's limit for a socket's path is 108 bytes with its end.
LONGEST_PATH = 107
# A word after "api key", "token" or "Bearer", and the forms of Hugging Face's and OpenAI's keys.
KEY = re.compile(
    r"""((?:api[-_ ]?keys?|hf_token|auth[-_]token|password|secret)["']?[\s:=\[("']+|bearer\s+)"""
    r"""[^\s"',)\]]{4,}|(\b)(?:hf_|sk-)[\w-]{16,}""",
    re.IGNORECASE,
)


@asynccontextmanager
async def control_socket(
    path: Path,
    scheduler: ModelScheduler,
    find_or_add: FindOrAdd | None = None,
    configuration: Callable[[], Configuration | None] = lambda: None,
) -> AsyncIterator[None]:
    """Answer there until the block ends; without `find_or_add` only known models load.

    `configuration` is shown with the models' status.
    """
    if len(str(path)) > LONGEST_PATH:
        raise UsageError(
            f"{path} is too long for a socket's path; set ENGINIX_HOME to a shorter directory"
        )
    _make_room_for(path)
    control = Control(scheduler, find_or_add, configuration)
    server = await asyncio.start_unix_server(control.serve, path)
    os.chmod(path, 0o600)
    try:
        yield
    finally:
        server.close()
        control.close()
        _remove(path)


def _make_room_for(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    # A supervisor that was killed leaves its socket behind; its port was free.
    _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class Control:
    def __init__(
        self,
        scheduler: ModelScheduler,
        find_or_add: FindOrAdd | None,
        configuration: Callable[[], Configuration | None],
    ) -> None:
        self._scheduler = scheduler
        self._find_or_add = find_or_add
        self._configuration = configuration
        self._tasks: set[asyncio.Task[None]] = set()
        self._gpu_memory = GpuMemory()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a line calls, a line answers. Closing it early cancels nothing."""
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                if line == supervision.FOLLOW:
                    await self._scheduler.subscribers.follow(reader, writer)
                    return
                writer.write(await self._answer(line))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, ValueError):
            # ValueError: a line that is too long, or no report.
            pass
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(self, line: bytes) -> bytes:
        try:
            return await self._do(supervision.decode_call(line))
        except (EnginixError, ValueError) as error:
            return supervision.encode_error(error)

    async def _do(self, call: Call) -> bytes:
        if isinstance(call, Status):
            models = self._scheduler.models.items()
            servers = {name: self._status(one) for name, one in models}
            return supervision.encode(Statuses(servers, self._configuration()))
        if isinstance(call, Log):
            return supervision.encode(await self._log(call))
        name = await self._change(call)
        subscribers = self._scheduler.subscribers
        if not (isinstance(call, Load) and call.by_request):
            await subscribers.all_seen()
        servers = {name: self._status(self._scheduler.find(name))}
        return supervision.encode(Changed(name, subscribers.generation, servers))

    async def _log(self, call: Log) -> LogTail:
        """Of the server whose status is the model's."""
        best = self._scheduler.find(call.name).server.best
        if best is None:
            raise RequestError(
                f"{call.name} has no server here, and so no log; see where it runs",
                code="not_here",
            )
        log = best.process.log
        # It reads a file.
        lines = await asyncio.to_thread(log.last_lines, call.lines, before_start=True)
        return LogTail(str(log.path), without_keys(lines))

    def _status(self, model: ManagedModel) -> ServerStatus:
        group, context = model.server, model.entry.max_model_len or None
        here = {one.address: self._of(one.server, context) for one in group.replicas}
        elsewhere = _external(group.created, context)
        replicas = here | dict.fromkeys(group.endpoints, elsewhere)
        if group.best is None:
            state = elsewhere.status if group.state is State.LOADED else group.state.value
            return replace(elsewhere, status=state, replicas=replicas)
        return replace(
            self._of(group.best, context),
            restarts=sum(one.restarts for one in here.values()),
            last_error=next((one.last_error for one in here.values() if one.last_error), None),
            memory_bytes=sum(one.memory_bytes or 0 for one in here.values()) or None,
            gpu_memory_bytes=sum(one.gpu_memory_bytes or 0 for one in here.values()) or None,
            replicas=replicas if len(replicas) > 1 else {},
        )

    def _of(self, server: RestartingServer, context: int | None) -> ServerStatus:
        process = server.process
        pids = [process.pid, *descendants(process.pid)] if process.pid else []
        progress = process.log.last_lines(1) if process.state is State.LOADING else []
        return ServerStatus(
            status=process.state.value,
            process_alive=process.alive,
            pid=process.pid,
            since=round(process.since, 3),
            progress=progress[0] if progress else None,
            restarts=server.restarts,
            last_error=process.error and without_keys([process.error])[0],
            log=str(process.spec.log),
            context=context,
            memory_bytes=resident_memory(pids) or None,
            gpu_memory_bytes=self._gpu_memory.of(pids),
        )

    async def _change(self, call: Load | Unload | Restart) -> str:
        """The name of the model that has changed."""
        if isinstance(call, Load):
            return await self._load(call)
        change = self._scheduler.unload if isinstance(call, Unload) else self._scheduler.restart
        await change(call.name, drain=call.drain)
        return call.name

    async def _load(self, call: Load) -> str:
        name = await self._name_of(call)
        loading = self._scheduler.load(name, by_request=call.by_request)
        if call.wait:
            await loading
        else:
            self._in_background(loading)
        return name

    def _in_background(self, loading: Coroutine[Any, Any, None]) -> None:
        """Its failure is in the status."""

        async def load() -> None:
            try:
                await loading
            except EnginixError as error:
                logger.error("%s", error)
            except asyncio.CancelledError:
                pass

        task = asyncio.create_task(load())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _name_of(self, call: Load) -> str:
        """The model to load, added first when it is not there."""
        if call.request and self._find_or_add:
            return (await self._find_or_add(call.request)).entry.name
        name = call.request.model if call.request else call.name
        return self._scheduler.find(str(name or call.name)).entry.name


def _external(since: float, context: int | None) -> ServerStatus:
    """Of a server that is not run here: what it does, only gateways know."""
    return ServerStatus("external", False, None, round(since, 3), None, 0, None, "", context)


def without_keys(lines: list[str]) -> list[str]:
    """Servers log their command lines, and some of them log keys."""
    return [KEY.sub(lambda found: (found[1] or "") + "[removed]", line) for line in lines]
