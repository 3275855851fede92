"""One gateway: its models, who may use them now, and what is known of their health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from enginix.errors import BackendError, BackendUnavailable, ServerStopping
from enginix.gateway.admission import Admission
from enginix.gateway.ask import Ask
from enginix.gateway.generation import Replies, generate
from enginix.gateway.liveness import Liveness
from enginix.gateway.metrics import Metrics
from enginix.gateway.models import Model, Models
from enginix.gateway.record import RequestRecord, TokenTimes
from enginix.gateway.servers import Servers
from enginix.gateway.settings import Settings
from enginix.gateway.store import ResponseStore

RETRY_SECONDS = 5.0


class Lane:
    """A model at work: its slots, and whether it lives."""

    def __init__(self, model: Model, settings: Settings, metrics: Metrics) -> None:
        self.model = model
        self.gauges = metrics.load(model.name)
        self.admission = Admission(model.name, settings.load.running, settings.load.waiting)
        self.liveness = Liveness(model.backend.probe)
        self.unloaded: str | None = None
        """Why nobody may ask it now, when somebody wanted that."""


class Gateway:
    """Belongs to the event loop it was made in; `close` it there."""

    def __init__(
        self,
        models: Sequence[Model],
        settings: Settings,
        *,
        metrics_directory: str | None = None,
    ) -> None:
        self.models = Models(models)
        self.settings = settings
        self.metrics = Metrics([model.name for model in models], metrics_directory)
        self.lanes = {model.name: Lane(model, settings, self.metrics) for model in models}
        store = settings.store
        self.servers = Servers(settings.supervisor)
        self.responses = ResponseStore(store.responses, store.bytes)
        self.started = time.time()
        self.stopping = False
        """New work is refused; what runs goes on."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._interrupted = False

    @property
    def busy(self) -> int:
        """How many requests run or wait."""
        admissions = [lane.admission for lane in self.lanes.values()]
        return sum(admission.running + admission.waiting for admission in admissions)

    def interrupt(self) -> None:
        """End what still runs; its clients are told why."""
        self.stopping = self._interrupted = True
        for task in self._tasks:
            task.cancel()

    @asynccontextmanager
    async def replies(self, ask: Ask, record: RequestRecord) -> AsyncIterator[Replies]:
        """The events of `ask`, once it is its turn; leaving the block cancels what still runs."""
        record.prompt_tokens = ask.prompt_tokens
        async with (
            self.at_work(ask.model.name, record, len(ask.requests)) as times,
            aclosing(generate(ask, times)) as replies,
        ):
            yield replies

    @asynccontextmanager
    async def at_work(
        self, model: str, record: RequestRecord, choices: int = 1
    ) -> AsyncIterator[list[TokenTimes]]:
        """One of the model's slots, once it is its turn, and a clock for each choice's tokens."""
        if self.stopping:
            raise ServerStopping(retry_after=RETRY_SECONDS)
        lane = self.lanes[model]
        record.model = model
        if lane.unloaded:
            raise BackendUnavailable(lane.unloaded)
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._tasks.add(task)
        times = [TokenTimes(lane.liveness, self._reporter(lane)) for _ in range(choices)]
        try:
            async with self._turn(lane, record):
                yield times
        except BackendError as error:
            lane.liveness.failed(error)
            raise await self.servers.explained(model, error) from None
        except asyncio.CancelledError:
            if not self._interrupted or task.uncancel() > 0:
                raise
            raise ServerStopping(retry_after=RETRY_SECONDS) from None
        finally:
            _note(times, record)
            self._tasks.discard(task)

    async def close(self) -> None:
        for lane in self.lanes.values():
            await lane.liveness.close()
            await lane.model.backend.close()

    @asynccontextmanager
    async def _turn(self, lane: Lane, record: RequestRecord) -> AsyncIterator[None]:
        since = time.monotonic()
        with lane.gauges.waiting.track_inprogress():
            await lane.admission.enter()
        record.queued = time.monotonic() - since
        lane.gauges.running.inc()
        try:
            yield
        finally:
            lane.gauges.running.dec()
            lane.admission.leave()

    def _reporter(self, lane: Lane) -> Callable[[TokenTimes], None]:
        return lambda times: self.metrics.report_tokens(lane.model.name, times)


def _note(times: Sequence[TokenTimes], record: RequestRecord) -> None:
    firsts = [each.first for each in times if each.first is not None]
    if firsts:
        record.first_token = min(firsts) - record.started
    for each in times:
        record.completion_tokens += each.total
        each.flush()
