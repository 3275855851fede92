"""The supervisor's own door: status, load, unload and follow, as lines of JSON over a Unix socket.

Only this user can open it. Its client is gateway/supervision/client.py, which gives it HTTP and
API keys.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from enginix.errors import BackendError, EnginixError, RequestError, UsageError
from enginix.serve.scheduler import ManagedModel, ModelScheduler
from enginix.serve.server_process import State

# A model that is not here yet, from what a client wants; raises EnginixError for what cannot be.
Wished = Callable[[dict[str, Any]], Awaitable[ManagedModel]]

logger = logging.getLogger(__name__)

# The kernel's limit for a socket's path is 108 bytes with its end.
LONGEST_PATH = 107
# A gateway that takes longer to open a model is left behind.
HEARD_SECONDS = 5.0


@asynccontextmanager
async def control_socket(
    path: Path, scheduler: ModelScheduler, requested_load: Wished | None = None
) -> AsyncIterator[None]:
    """Answers there until the block ends; without `requested_load` only known models load."""
    if len(str(path)) > LONGEST_PATH:
        raise UsageError(
            f"{path} is too long for a socket's path; set ENGINIX_HOME to a shorter directory"
        )
    _clear_the_way(path)
    control = Control(scheduler, requested_load)
    server = await asyncio.start_unix_server(control.serve, path)
    os.chmod(path, 0o600)
    try:
        yield
    finally:
        server.close()
        control.close()
        _remove(path)


def _clear_the_way(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    # One that is left belongs to a supervisor that was killed: its port was free.
    _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class Control:
    def __init__(self, scheduler: ModelScheduler, requested_load: Wished | None) -> None:
        self._residency = scheduler
        self._wished = requested_load
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a line asks, a line answers. One that closes early changes nothing."""
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                if _asked(line).get("do") == "follow":
                    await self._residency.subscribers.follow(reader, writer)
                    return
                writer.write(json.dumps(await self._answered(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, ValueError, BackendError):
            pass
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answered(self, line: bytes) -> dict[str, Any]:
        asked = _asked(line)
        try:
            return await self._do(asked)
        except (KeyError, TypeError, ValueError):
            return {"error": 'expected a line of JSON like {"do": "load", "name": "demo"}'}
        except EnginixError as error:
            return _refusal(error)

    async def _do(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["do"]:
            case "status":
                everyone = self._residency.models
                return {"servers": {name: described(one) for name, one in everyone.items()}}
            case "load":
                name = await self._name_of(asked.get("wish") or {}, asked.get("name"))
                loading = self._residency.load(name, by_request=bool(asked.get("by_request")))
                if asked.get("wait", True):
                    await loading
                else:
                    self._in_background(loading)
            case "unload":
                name = asked["name"]
                await self._residency.unload(name, drain=float(asked["drain"]))
            case _:
                raise ValueError(asked)
        if not asked.get("by_request"):
            # Whichever gateway is asked next is to know of it.
            await self._residency.subscribers.heard(HEARD_SECONDS)
        return {
            "name": name,
            "generation": self._residency.subscribers.generation,
            "servers": {name: described(self._residency.find(name))},
        }

    def _in_background(self, loading: Coroutine[Any, Any, None]) -> None:
        """What it fails with is in the status."""

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

    async def _name_of(self, wish: dict[str, Any], name: str | None) -> str:
        """The model that is wanted, which is made when there is none like it."""
        if not wish or self._wished is None:
            return self._residency.find(str(wish.get("model", name))).entry.name
        return (await self._wished(wish)).entry.name


def described(model: ManagedModel) -> dict[str, Any]:
    """What /v1/status says of a server's process."""
    server, child = model.server, model.server.process
    progress = child.log.last_lines(1) if child.state is State.LOADING else []
    return {
        "status": child.state.value,
        "process_alive": child.alive,
        "pid": child.pid,
        "since": round(child.since, 3),
        "progress": progress[0] if progress else None,
        "restarts": server.restarts,
        "last_error": child.error,
        "log": str(child.spec.log),
    }


def _asked(line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _refusal(error: EnginixError) -> dict[str, Any]:
    """A client's own mistake is told apart from what is wrong with a server."""
    if isinstance(error, RequestError):
        return {"error": str(error), "param": error.param, "code": error.code, "mistake": True}
    return {"error": str(error)}
