"""Asks the supervisor of the models' servers: how they are, and to start or end one.

Without a supervisor, where `enginix openai` was started by itself, nothing is known and nothing
can be done.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from enginix.errors import (
    BackendError,
    BackendUnavailable,
    EnginixError,
    RequestError,
    ResourceNotFound,
)

STATUS_SECONDS = 1.0
# A status names every server with its last words.
LONGEST_LINE = 4 << 20

# The states in which a server cannot be reached.
ABSENT = {
    "idle": "has not been loaded",
    "loading": "has been loading",
    "error": "has been down",
}


class Changed(NamedTuple):
    """What a load or unload was about."""

    model: str
    generation: int
    """Who follows the supervisor has heard of it once it has seen this."""


class SupervisorClient:
    def __init__(self, socket: Path | None) -> None:
        self._socket = socket

    def require(self) -> Path:
        """The supervisor's socket; RequestError where there is none."""
        if self._socket is None:
            raise RequestError(
                "this gateway has no supervisor, so it cannot start or end servers; "
                "start it with `enginix up PROFILE`",
                code="not_supervised",
            )
        return self._socket

    async def status(self) -> dict[str, dict[str, Any]]:
        """Model -> what is known of its server; nothing when nobody can say."""
        if self._socket is None:
            return {}
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                servers: dict[str, dict[str, Any]] = (await self._ask({"do": "status"}))["servers"]
                return servers
        except (BackendError, TimeoutError):
            return {}

    async def load(
        self,
        model: str | None = None,
        *,
        wish: dict[str, Any] | None = None,
        by_request: bool = False,
        wait: bool = True,
    ) -> Changed:
        """Return when it serves; BackendUnavailable with its last words when it does not.

        A `wish` may be for a model that is not there yet, or for another form of one that is.
        """
        question = {"do": "load", "name": model, "wish": wish}
        return _changed(await self._ask({**question, "by_request": by_request, "wait": wait}))

    async def unload(self, model: str, *, drain: float) -> Changed:
        """Return when it has ended; its answers get so many seconds to finish."""
        return _changed(await self._ask({"do": "unload", "name": model, "drain": drain}))

    async def explained(self, model: str, error: BackendError) -> BackendError:
        """`error`, with what is known of the server when it is that which is missing."""
        if not isinstance(error, BackendUnavailable):
            return error
        server = (await self.status()).get(model, {})
        state = ABSENT.get(server.get("status", ""))
        if state is None:
            return error
        progress = f" ({server['progress']})" if server.get("progress") else ""
        return BackendUnavailable(
            f"{model} {state} for {time.time() - server['since']:.0f} s{progress}; ask again"
        )

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        socket = self.require()
        try:
            reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST_LINE)
        except OSError as error:
            raise BackendUnavailable(f"the supervisor does not answer: {error.strerror}") from None
        try:
            writer.write(orjson.dumps(question) + b"\n")
            line = await reader.readline()
        except OSError as error:
            raise BackendUnavailable(f"the supervisor broke off: {error}") from None
        finally:
            writer.close()
        if not line:
            raise BackendUnavailable("the supervisor is ending")
        answer: dict[str, Any] = orjson.loads(line)
        if "error" in answer:
            raise _refusal(answer)
        return answer


def _changed(answer: dict[str, Any]) -> Changed:
    return Changed(answer["name"], answer["generation"])


def _refusal(answer: dict[str, Any]) -> EnginixError:
    if not answer.get("mistake"):
        return BackendUnavailable(answer["error"])
    kind = ResourceNotFound if answer["code"] == "model_not_found" else RequestError
    return kind(answer["error"], param=answer["param"], code=answer["code"])
