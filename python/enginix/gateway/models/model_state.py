"""One model of a gateway: its slots, availability, liveness and running requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any

from enginix.gateway.models.admission import Admission
from enginix.gateway.models.first_tokens import FirstTokens
from enginix.gateway.models.health import Liveness
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.model import Model
from enginix.gateway.models.peers import Traffic
from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.models.running import RunningRequest
from enginix.gateway.models.server_metrics import ANSWER_SECONDS, ServerMetrics
from enginix.gateway.models.speed import Speed
from enginix.generation.backend import Replica
from enginix.supervision import Availability, ServerStatus, replica_key

# A connection to a server that was away is tried again every two seconds.
RETURN_SECONDS = 10.0
RETURN_POLL = 0.1


class ModelState:
    """One model's slots, availability and liveness."""

    def __init__(self, model: Model, admission: Admission, metrics: Metrics) -> None:
        self._metrics = metrics
        self.gauges = metrics.load(model.name)
        self.admission = admission
        """Of its server, which it may share with adapters."""
        self.running = self.waiting = 0
        self.started = 0
        """Requests ever admitted."""
        self.first_tokens = FirstTokens()
        self.speed = Speed()
        self.presence = Availability.OPEN
        self.reason = ""
        """Why it is not open."""
        self.loading: asyncio.Task[None] | None = None
        self.waiting_for_load = 0
        self.requests: set[RunningRequest] = set()
        """Those that wait or run."""
        self.serve(model, metrics)

    def serve(self, model: Model, metrics: Metrics) -> None:
        """Send new requests to this model; it may be another of the same name."""
        self.model = model
        self.liveness = Liveness(model.backend.probe)
        self.server_metrics = ServerMetrics(model.name, model.metrics) if model.metrics else None
        for replica in model.backend.replicas:
            metrics.follow(model.name, replica)
        self.late_tokens = 0
        """Late tokens already added to the metrics."""

    @property
    def busy(self) -> int:
        """The number of requests that run or wait."""
        return self.running + self.waiting

    async def enter(self, record: RequestRecord) -> str | None:
        """Take one of the server's slots; return the key to leave it with."""
        record.stage("queue")
        since = time.monotonic()
        key = record.key.name if record.key else None
        if self.admission.full:
            self.waiting += 1
            try:
                with self.gauges.waiting.track_inprogress():
                    await self.admission.enter(record.rank, key, record.while_waiting)
            finally:
                self.waiting -= 1
        else:
            await self.admission.enter(record.rank, key)
        self.running += 1
        self.started += 1
        record.queued = time.monotonic() - since
        # It refers to the answer and its client.
        record.while_waiting = None
        record.stage("first_token")
        self.gauges.running.inc()
        return key

    def leave(self, key: str | None) -> None:
        self.running -= 1
        self.gauges.running.dec()
        self.admission.leave(key)

    async def close(self) -> None:
        await _closed([], self.liveness, self.model)

    def closed_later(self) -> Coroutine[Any, Any, None]:
        """Closes what the model has now, once the requests that run now are done."""
        tasks = [request.task for request in self.requests]
        return _closed(tasks, self.liveness, self.model)

    async def generates(self, server: ServerStatus | None) -> bool | None:
        """Whether tokens come out; None for a model that is not loaded, or not for the first time.

        `server`: what the supervisor knows, which probes the servers that it runs.
        """
        if self.presence != Availability.OPEN:
            return None
        if server is None or server.status == "external":
            return (await self.liveness.health(ANSWER_SECONDS)).ok
        if server.status in ("idle", "loading") and not server.restarts:
            return None
        return server.status == "loaded"

    async def rest(self, addresses: Sequence[str]) -> None:
        """Only these of the model's replicas get no new requests.

        Returns once those that no longer rest generate again, or after RETURN_SECONDS: until then
        requests would go to the next one that is to rest.
        """
        replicas = self.model.backend.replicas
        back = [each for each in replicas if each.resting and each.address not in addresses]
        for replica in replicas:
            replica.resting = replica.address in addresses
            replica.changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(RETURN_SECONDS):
                await asyncio.gather(*map(_returned, back))

    def report(self, times: TokenTimes) -> None:
        """Count the tokens of a request that came since its last report."""
        self.speed.reported += times.tokens
        self._metrics.report_tokens(self.model.name, times)

    @property
    def unreported(self) -> int:
        """Tokens of running requests that no metric counts yet."""
        return sum(request.unreported for request in self.requests)

    @property
    def traffic(self) -> Traffic:
        return Traffic(
            self.running,
            self.waiting + self.waiting_for_load,
            self.speed.tokens_per_second(self.unreported),
            self.speed.first_tokens(),
        )

    def traffics(self) -> Iterator[tuple[str, Traffic]]:
        """The model's by its name, and what runs on each of its replicas."""
        yield self.model.name, self.traffic
        for replica in self.model.backend.replicas:
            yield replica_key(self.model.name, replica.address), Traffic(replica.running)


async def _closed(requests: Sequence[asyncio.Task[Any]], liveness: Liveness, model: Model) -> None:
    try:
        if requests:
            await asyncio.wait(requests)
    finally:
        await liveness.close()
        await model.close()


async def _returned(replica: Replica) -> None:
    await replica.examine()
    while replica.out is not None:
        await asyncio.sleep(RETURN_POLL)
        await replica.examine()
