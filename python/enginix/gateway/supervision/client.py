"""Calls the supervisor for the status of models' servers, and to start or stop one.

Without a supervisor, where `enginix openai` was started by itself, nothing is known and nothing
can be done.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from enginix import supervision
from enginix.errors import BackendError, BackendUnavailable, RequestError
from enginix.supervision import (
    Call,
    Changed,
    Load,
    Log,
    LogTail,
    Restart,
    ServerStatus,
    Status,
    Statuses,
    Unload,
)

STATUS_SECONDS = 1.0
# How old a status may be in metrics, which supervisors read once a second: each status looks at
# every server's processes.
RECENT_SECONDS = 5.0
# A status quotes the log of every server.
LONGEST_LINE = 4 << 20

# The states in which a server cannot be reached.
ABSENT = {
    "idle": "has not been loaded",
    "loading": "has been loading",
    "error": "has been down",
}


class SupervisorClient:
    def __init__(self, socket: Path | None) -> None:
        self._socket = socket
        self._recent: dict[str, ServerStatus] = {}
        self._asked = -RECENT_SECONDS
        self._lock = asyncio.Lock()

    def require(self) -> Path:
        """The supervisor's socket; RequestError if there is none."""
        if self._socket is None:
            raise RequestError(
                "this gateway has no supervisor, so it cannot start or end servers; "
                "start it with `enginix up PROFILE`",
                code="not_supervised",
            )
        return self._socket

    async def status(self) -> dict[str, ServerStatus]:
        """Model -> the status of its server; empty when the supervisor does not answer."""
        return (await self.statuses()).servers

    async def statuses(self) -> Statuses:
        """The same, and that of the supervisor's files."""
        if self._socket is None:
            return Statuses({})
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                return supervision.decode(Statuses, await self._call(Status()))
        except (BackendError, TimeoutError):
            return Statuses({})

    async def recent_status(self) -> dict[str, ServerStatus]:
        """The status, at most RECENT_SECONDS old."""
        async with self._lock:
            if time.monotonic() - self._asked >= RECENT_SECONDS:
                self._recent, self._asked = await self.status(), time.monotonic()
        return self._recent

    async def load(self, load: Load) -> Changed:
        """Return when it serves; BackendUnavailable quotes its log if it does not start."""
        return supervision.decode(Changed, await self._call(load))

    async def unload(self, model: str, *, drain: float) -> Changed:
        """Return when it has stopped; its running requests get `drain` seconds to finish."""
        return supervision.decode(Changed, await self._call(Unload(model, drain)))

    async def restart(self, model: str, *, drain: float) -> Changed:
        """Return when all its servers have been replaced; each one's requests get `drain` seconds.

        BackendUnavailable quotes the log of one that is not ready again.
        """
        return supervision.decode(Changed, await self._call(Restart(model, drain)))

    async def log(self, model: str, lines: int) -> LogTail:
        """The last lines of its server's log."""
        return supervision.decode(LogTail, await self._call(Log(model, lines)))

    async def explained(self, model: str, error: BackendError) -> BackendError:
        """`error`, or the state of the model's server if that is the cause."""
        if not isinstance(error, BackendUnavailable):
            return error
        server = (await self.status()).get(model)
        if server is None or server.status not in ABSENT:
            return error
        progress = f" ({server.progress})" if server.progress else ""
        return BackendUnavailable(
            f"{model} {ABSENT[server.status]} for {time.time() - server.since:.0f} s{progress}; "
            "ask again"
        )

    async def _call(self, call: Call) -> bytes:
        """The line that answers it."""
        socket = self.require()
        try:
            reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST_LINE)
        except OSError as error:
            raise BackendUnavailable(f"the supervisor does not answer: {error.strerror}") from None
        try:
            writer.write(supervision.encode(call))
            line = await reader.readline()
        except OSError as error:
            raise BackendUnavailable(f"the supervisor broke off: {error}") from None
        finally:
            writer.close()
        if not line:
            raise BackendUnavailable("the supervisor is ending")
        return line
