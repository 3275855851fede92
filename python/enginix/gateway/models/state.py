"""One gateway: its models, who may use them now, and what is known of their health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol

from enginix.errors import (
    BackendError,
    BackendUnavailable,
    Overloaded,
    RequestError,
    ServerStopping,
)
from enginix.gateway.models.admission import Admission
from enginix.gateway.models.first_tokens import FirstTokens
from enginix.gateway.models.health import Liveness
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.registry import Model, Models
from enginix.gateway.models.store import ResponseStore
from enginix.gateway.prompt.request import AnyAsk, RelayedAsk
from enginix.gateway.reply.generate import Replies, generate
from enginix.gateway.settings import Settings
from enginix.gateway.supervision.client import SupervisorClient
from enginix.gateway.upstream.chat import chat_replies

RETRY_SECONDS = 5.0


class Availability:
    """What is done with a request for a model; serve/scheduler.py decides it."""

    OPEN = "open"
    ON_DEMAND = "on_demand"
    CLOSED = "closed"


class Subscription(Protocol):
    """What the gateway needs of gateway/supervision/subscription.py, which imports this module."""

    async def seen(self, generation: int) -> None: ...


class ModelState:
    """A model at work: its slots, and whether it lives."""

    def __init__(self, model: Model, settings: Settings, metrics: Metrics) -> None:
        self.model = model
        self.gauges = metrics.load(model.name)
        self.admission = Admission(model.name, settings.load.running, settings.load.waiting)
        self.liveness = Liveness(model.backend.probe)
        self.first_tokens = FirstTokens()
        self.presence: str = Availability.OPEN
        self.reason = ""
        """Why it is not open."""
        self.loading: asyncio.Task[None] | None = None
        self.waiting_for_load = 0
        self.late_tokens = 0
        """Those the metrics know of."""


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
        self.lanes = {model.name: ModelState(model, settings, self.metrics) for model in models}
        self.following: Subscription | None = None
        store = settings.store
        self.servers = SupervisorClient(settings.supervisor)
        self.responses = ResponseStore(store.responses, store.bytes)
        self.started = time.time()
        self.stopping = False
        """New work is refused; what runs goes on."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._interrupted = False

    @property
    def busy(self) -> int:
        """How many requests run or wait."""
        return sum(lane.admission.busy for lane in self.lanes.values())

    def add(self, model: Model) -> None:
        """One more model."""
        self.metrics.begin_at_zero([model.name])
        self.lanes[model.name] = ModelState(model, self.settings, self.metrics)
        self.models = Models([*self.models, model])

    async def loaded(self, lane: ModelState) -> None:
        """Return when the model may be asked; it is loaded once, however many wait."""
        if lane.presence == Availability.CLOSED:
            raise BackendUnavailable(lane.reason)
        most = self.settings.load.waiting
        if lane.waiting_for_load >= most:
            raise Overloaded(
                f"{most} requests wait for {lane.model.name} to be loaded",
                retry_after=RETRY_SECONDS,
            )
        if lane.loading is None:
            lane.loading = asyncio.create_task(self._load(lane))
            # All who waited may have left.
            lane.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        lane.waiting_for_load += 1
        try:
            await asyncio.shield(lane.loading)
        finally:
            lane.waiting_for_load -= 1

    def interrupt(self) -> None:
        """End what still runs; its clients are told why."""
        self.stopping = self._interrupted = True
        for task in self._tasks:
            task.cancel()

    @asynccontextmanager
    async def replies(self, ask: AnyAsk, record: RequestRecord) -> AsyncIterator[Replies]:
        """The events of `ask`, once it is its turn; leaving the block cancels what still runs."""
        record.prompt_tokens = ask.prompt_tokens
        async with (
            self.at_work(ask.model.name, record, len(ask.requests)) as times,
            aclosing(
                chat_replies(ask, record, times)
                if isinstance(ask, RelayedAsk)
                else generate(ask, times)
            ) as replies,
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
        # It may have been ended to make room since the request came.
        while lane.presence != Availability.OPEN:
            await self.loaded(lane)
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._tasks.add(task)
        times: list[TokenTimes] = []
        waits: list[int] = []
        try:
            await _refuse_if_down(lane)
            async with self._turn(lane, record):
                # It may have gone down while this request waited for its turn.
                await _refuse_if_down(lane)
                waits += [lane.first_tokens.asked(task) for _ in range(choices)]
                times += [self._times(lane, number) for number in waits]
                yield times
        except BackendError as error:
            lane.liveness.failed(error)
            raise await self._explained(lane, error, waits) from None
        except asyncio.CancelledError:
            why = lane.first_tokens.given_up(waits)
            if not (why or self._interrupted) or task.uncancel() > 0:
                raise
            if why:
                raise BackendUnavailable(why) from None
            raise ServerStopping(retry_after=RETRY_SECONDS) from None
        finally:
            lane.first_tokens.left(waits)
            _note(times, record)
            self.note_late_tokens(lane)
            self._tasks.discard(task)

    async def _explained(
        self, lane: ModelState, error: BackendError, waits: Sequence[int]
    ) -> BackendError:
        """`error` in the supervisor's words; those of whoever gives the request up are as good."""
        try:
            return await self.servers.explained(lane.model.name, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not lane.first_tokens.given_up(waits) or task is None or task.uncancel() > 0:
                raise
            return error

    def note_late_tokens(self, lane: ModelState) -> None:
        """They come when their requests are over, so whoever passes by counts them."""
        late = lane.model.backend.late_tokens
        if late > lane.late_tokens:
            self.metrics.report_late_tokens(lane.model.name, late - lane.late_tokens)
            lane.late_tokens = late

    async def close(self) -> None:
        for lane in self.lanes.values():
            await lane.liveness.close()
            await lane.model.backend.close()

    async def _load(self, lane: ModelState) -> None:
        try:
            answer = await self.servers.load(lane.model.name, by_request=True)
            if self.following:
                await self.following.seen(answer.generation)
        except RequestError as error:
            # Not the client's mistake: it only asked a model.
            raise BackendUnavailable(str(error)) from None
        finally:
            lane.loading = None

    @asynccontextmanager
    async def _turn(self, lane: ModelState, record: RequestRecord) -> AsyncIterator[None]:
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

    def _times(self, lane: ModelState, number: int) -> TokenTimes:
        report = partial(self.metrics.report_tokens, lane.model.name)
        began = partial(lane.first_tokens.arrived, number)
        return TokenTimes(lane.liveness, report, began=began)


async def _refuse_if_down(lane: ModelState) -> None:
    """Raise for a model that nothing can come of now: a client would wait for it in vain."""
    if lane.liveness.down and not (health := await lane.liveness.health()).ok:
        raise BackendUnavailable(health.reason)


def _note(times: Sequence[TokenTimes], record: RequestRecord) -> None:
    firsts = [each.first for each in times if each.first is not None]
    if firsts:
        record.first_token = min(firsts) - record.started
    for each in times:
        record.completion_tokens += each.total
        each.flush()
