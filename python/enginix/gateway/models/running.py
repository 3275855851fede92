"""The requests that wait or run now: operators list them, and stop one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from enginix.errors import EnginixError
from enginix.gateway.models.record import RequestRecord, TokenTimes


@dataclass(slots=True, eq=False)
class RunningRequest:
    """It is listed while its block runs."""

    record: RequestRecord
    task: asyncio.Task[Any]
    """Cancelled to end the request."""
    listed: set[RunningRequest]
    loads: bool = False
    """Whether it waits for its model to load."""
    times: list[TokenTimes] = field(default_factory=list)
    """One for each choice, once it has a slot."""
    _why: Callable[[], EnginixError] | None = None
    """Set if it is ended from outside."""

    def __enter__(self) -> RunningRequest:
        self.listed.add(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.listed.discard(self)
        if self._why is None or not isinstance(error, asyncio.CancelledError):
            return
        if self.task.uncancel() == 0:
            raise self._why() from None

    @property
    def state(self) -> str:
        if self.loads:
            return "loading"
        return "running" if self.times else "waiting"

    @property
    def tokens(self) -> int:
        return sum(each.total for each in self.times)

    @property
    def unreported(self) -> int:
        """Tokens that no metric counts yet."""
        return sum(each.tokens for each in self.times)

    def row(self) -> dict[str, Any]:
        """What operators see: never the prompt or the answer."""
        return {
            "id": self.record.id,
            "object": "request",
            "model": self.record.model,
            "route": self.record.path,
            "client": self.record.client,
            "key": self.record.key.name if self.record.key else None,
            "state": self.state,
            "age_seconds": round(time.monotonic() - self.record.started, 4),
            "prompt_tokens": self.record.prompt_tokens,
            "completion_tokens": self.tokens,
        }

    def end(self, why: Callable[[], EnginixError]) -> None:
        """End it; its client gets that error."""
        if self._why is None:
            self._why = why
            self.task.cancel()
