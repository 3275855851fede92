"""The supervisor's own door: status, load and unload, as lines of JSON over a Unix socket.

Only this user can open it. Its client is gateway/servers.py, which gives it HTTP and API keys.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from enginix.errors import EnginixError, UsageError
from enginix.serve.child import State
from enginix.serve.keeper import Keeper

# The kernel's limit for a socket's path is 108 bytes with its end.
LONGEST_PATH = 107


@asynccontextmanager
async def control_socket(path: Path, keepers: Mapping[str, Keeper]) -> AsyncIterator[None]:
    """Answers there until the block ends. `keepers` are those of models, by their names."""
    if len(str(path)) > LONGEST_PATH:
        raise UsageError(
            f"{path} is too long for a socket's path; set ENGINIX_HOME to a shorter directory"
        )
    _clear_the_way(path)
    control = Control(keepers)
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
    def __init__(self, keepers: Mapping[str, Keeper]) -> None:
        self._keepers = keepers
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a line asks, a line answers. One that closes early changes nothing."""
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answered(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, ValueError):
            pass
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            return await self._do(asked["do"], asked.get("name"))
        except (ValueError, KeyError, TypeError):
            return {"error": 'expected a line of JSON like {"do": "load", "name": "demo"}'}
        except EnginixError as error:
            return {"error": str(error)}

    async def _do(self, what: str, name: str | None) -> dict[str, Any]:
        if what == "status":
            return {"servers": {each: described(keeper) for each, keeper in self._keepers.items()}}
        keeper = self._keepers.get(name or "")
        if keeper is None or what not in ("load", "unload"):
            known = ", ".join(self._keepers)
            return {"error": f"cannot {what} {name!r}; expected load or unload of {known}"}
        if what == "load":
            await keeper.load()
        else:
            await keeper.unload()
        return {"servers": {keeper.name: described(keeper)}}


def described(keeper: Keeper) -> dict[str, Any]:
    """What /v1/status says of a server's process."""
    child = keeper.child
    progress = child.log.last_lines(1) if child.state is State.LOADING else []
    return {
        "status": child.state.value,
        "process_alive": child.alive,
        "pid": child.pid,
        "since": round(child.since, 3),
        "progress": progress[0] if progress else None,
        "restarts": keeper.restarts,
        "last_error": child.error,
        "log": str(child.spec.log),
    }
