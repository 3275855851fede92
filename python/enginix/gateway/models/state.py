"""One gateway: its models, their availability, and their health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
)
from functools import partial
from typing import Protocol

from enginix.errors import (
    BackendError,
    BackendUnavailable,
    ModelNotFound,
    Overloaded,
    RequestError,
    RequestStopped,
    ServerStopping,
)
from enginix.gateway.keys.limits import KeyLimits
from enginix.gateway.keys.usage import UsageLog, used_by
from enginix.gateway.models.admission import Admission
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.model import GenerationRequest, Model, NamedModel
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.peers import Peers, Report
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.registry import Models
from enginix.gateway.models.running import RunningRequest
from enginix.gateway.models.store import ResponseStore
from enginix.gateway.settings import Settings
from enginix.gateway.supervision.client import SupervisorClient
from enginix.supervision import Availability, Configuration, Load

RETRY_SECONDS = 5.0


class Subscription(Protocol):
    """What the gateway needs of gateway/supervision/subscription.py, which imports this module."""

    async def seen(self, generation: int) -> None: ...


class Gateway:
    """Belongs to the event loop it was created in; `close` it there."""

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
        self.states: dict[str, ModelState] = {}
        for model in models:
            self.states[model.name] = self.new_state(model)
        self.following: Subscription | None = None
        store = settings.store
        self.servers = SupervisorClient(settings.supervisor)
        self.responses = ResponseStore(store.responses, store.bytes)
        self.limits = KeyLimits(metrics_directory)
        self.usage = UsageLog(settings.usage_directory) if settings.usage_directory else None
        self.peers = Peers(metrics_directory, self.report)
        self.started = time.time()
        self.retiring: set[asyncio.Task[None]] = set()
        self.configuration: Configuration | None = None
        self.leaving = self.stopping = False
        """Leaving: /readyz says so. Stopping: new requests are refused, too; running continue."""

    @property
    def busy(self) -> int:
        """How many requests run or wait."""
        return sum(state.busy for state in self.states.values())

    def new_state(self, model: Model) -> ModelState:
        """It shares its slots with the models that its server has already."""
        load, name = self.settings.load, model.served_by
        shared = [one for one in self.states.values() if one.model.served_by == name]
        slots = shared[0].admission if shared else Admission(name, load.running, load.waiting)
        return ModelState(model, slots, self.metrics)

    def requests(self) -> list[RunningRequest]:
        """Those that wait or run, of all models."""
        return [request for state in self.states.values() for request in state.requests]

    def report(self, cancel: str | None = None) -> Report:
        """For operators, once the requests with the id `cancel` are ended."""
        # Clients choose ids, so several requests may have one.
        ended = [one for one in self.requests() if cancel is not None and one.record.id == cancel]
        for request in ended:
            request.end(RequestStopped)
        return Report(
            [request.row() for request in self.requests()],
            {name: one for state in self.states.values() for name, one in state.traffics()},
            len(ended),
        )

    async def loaded(self, state: ModelState, record: RequestRecord) -> None:
        """Return when the model accepts requests; many waiting requests share one load."""
        if state.presence == Availability.CLOSED:
            raise BackendUnavailable(state.reason)
        max_waiting = self.settings.load.waiting
        if state.waiting_for_load >= max_waiting:
            raise Overloaded(
                f"{max_waiting} requests already wait for {state.model.name} to load",
                retry_after=RETRY_SECONDS,
            )
        if state.loading is None:
            state.loading = asyncio.create_task(self._load(state))
            # Retrieve the exception even if all waiting requests have left.
            state.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        state.waiting_for_load += 1
        record.stage("load")
        try:
            with _listed(state, record) as request:
                request.loads = True
                await asyncio.shield(state.loading)
        finally:
            state.waiting_for_load -= 1

    def finished(self, record: RequestRecord, route: str, seconds: float) -> None:
        """Count a request that has ended, successfully or not."""
        self.metrics.finished(record, route, seconds)
        if self.usage and record.key and record.model:
            self.usage.note(record.key.name, record.model, used_by(record))

    def interrupt(self) -> None:
        """End running requests; their clients get an error."""
        self.stopping = True
        for request in self.requests():
            request.end(_server_stopping)

    def generating(
        self, request: GenerationRequest, record: RequestRecord
    ) -> AbstractAsyncContextManager[list[TokenTimes]]:
        """As `at_work`, for a request whose `replies` are read in the block."""
        record.prompt_tokens, record.reply_id = request.prompt_tokens, request.id
        return self.at_work(request.model, record, request.choices)

    def at_work(
        self, model: NamedModel, record: RequestRecord, choices: int = 1
    ) -> AbstractAsyncContextManager[list[TokenTimes]]:
        """Wait for one of the model's slots; yield a clock for each choice's tokens.

        Raises RateLimited if the request's key has used up what it may use now.
        """
        work = self._at_work(model, record, choices)
        if record.key is None:
            return work
        # Whatever the route has checked.
        if model.name not in (one.name for one in self.models.of_key(record.key)):
            raise ModelNotFound(model.name, ())
        record.model = model.name
        return self.limits.around(work, record, record.key)

    @asynccontextmanager
    async def _at_work(
        self, model: NamedModel, record: RequestRecord, choices: int
    ) -> AsyncIterator[list[TokenTimes]]:
        if self.stopping:
            raise _server_stopping()
        if (state := self.states.get(model.name)) is None:
            raise ModelNotFound(model.name, self.states)
        record.model = model.name
        # The supervisor may have unloaded the model since the request came.
        while state.presence != Availability.OPEN:
            await self.loaded(state, record)
        with _listed(state, record) as request:
            times, task, waits = request.times, request.task, list[int]()
            try:
                await _refuse_if_down(state, model)
                key = await state.enter(record)
                try:
                    # The model may have failed while this request waited.
                    await _refuse_if_down(state, model)
                    waits += [state.first_tokens.asked(task) for _ in range(choices)]
                    times += [_times(state, record, number) for number in waits]
                    yield times
                finally:
                    state.leave(key)
            except BackendError as error:
                state.liveness.failed(error)
                raise await self._explained(state, error, waits) from None
            except asyncio.CancelledError:
                why = state.first_tokens.given_up(waits)
                if not why or task.uncancel() > 0:
                    raise
                raise BackendUnavailable(why) from None
            finally:
                state.first_tokens.left(waits)
                _note(times, record)
                self.note_late_tokens(state)

    async def _explained(
        self, state: ModelState, error: BackendError, waits: Sequence[int]
    ) -> BackendError:
        """`error` as the supervisor explains it, or as it is if the request was given up."""
        try:
            return await self.servers.explained(state.model.served_by, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not state.first_tokens.given_up(waits) or task is None or task.uncancel() > 0:
                raise
            return error

    def note_late_tokens(self, state: ModelState) -> None:
        """Count tokens that arrived after their requests ended; every later request triggers it."""
        late = state.model.backend.late_tokens
        if late > state.late_tokens:
            self.metrics.report_late_tokens(state.model.name, late - state.late_tokens)
            state.late_tokens = late

    async def close(self) -> None:
        self.limits.close()
        for task in self.retiring:
            task.cancel()
        await asyncio.gather(*self.retiring, return_exceptions=True)
        for state in self.states.values():
            await state.close()

    async def _load(self, state: ModelState) -> None:
        try:
            answer = await self.servers.load(Load(state.model.served_by, by_request=True))
            if self.following:
                await self.following.seen(answer.generation)
        except RequestError as error:
            # Not a mistake of the client, which only named a model.
            raise BackendUnavailable(str(error)) from None
        finally:
            state.loading = None


def _listed(state: ModelState, record: RequestRecord) -> RunningRequest:
    task = asyncio.current_task()
    assert task is not None, "it runs in a coroutine"
    return RunningRequest(record, task, state.requests)


def _server_stopping() -> ServerStopping:
    return ServerStopping(retry_after=RETRY_SECONDS)


async def _refuse_if_down(state: ModelState, model: NamedModel) -> None:
    """Raise if the model cannot answer now: the client would wait in vain."""
    if state.model is not model:
        # The prompt was made for the one that had its name before.
        raise BackendUnavailable(f"{model.name} has changed meanwhile; send the request again")
    if state.liveness.down and not (health := await state.liveness.health_now()).ok:
        raise BackendUnavailable(health.reason)


def _times(state: ModelState, record: RequestRecord, number: int) -> TokenTimes:
    began = partial(_began, state, record, number)
    return TokenTimes(state.liveness, state.report, began=began)


def _began(state: ModelState, record: RequestRecord, number: int) -> None:
    """The first token of one of the request's choices came."""
    state.first_tokens.arrived(number)
    if record.first_token is None:
        state.speed.note_first_token(record.token_came())


def _note(times: Sequence[TokenTimes], record: RequestRecord) -> None:
    for each in times:
        record.completion_tokens += each.total
        each.flush()
