"""The gateway's Prometheus metrics; Triton exports its own.

With several worker processes prometheus-client keeps the values in files that all of them read,
if PROMETHEUS_MULTIPROC_DIR was set before this module was imported.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from enginix.gateway.keys.usage import Used, used_by
from enginix.gateway.models.conditions import Condition, condition_families, disk_families
from enginix.gateway.models.record import GAP_BUCKETS, RequestRecord, TokenTimes
from enginix.gateway.models.server_metrics import (
    ACCEPTED,
    DRAFTED,
    KV_CACHE,
    REQUEST_TYPE,
    REQUESTS,
)
from enginix.generation.backend import Replica

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CLIENT_LEFT = 499
Labelled = TypeVar("Labelled", bound=MetricWrapperBase)
# What stands in for a server's own count of its requests.
OWN_COUNTS = {"enginix_running_requests": "scheduled", "enginix_waiting_requests": "waiting"}


def forget_worker(pid: int, directory: str) -> None:
    """Drop a dead process's gauges of running requests."""
    mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]


class BucketHistogram(Histogram):
    """A histogram that accepts counts collected elsewhere: once a second instead of per token."""

    def note(self, value: float) -> None:
        """`observe`, without looking at every bucket below."""
        self._sum.inc(value)
        self._buckets[bisect_left(self._upper_bounds, value)].inc(1)

    def add(self, counts: Sequence[int], total: float) -> None:
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Collected(Collector):
    """Metrics as they were at one time."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class LoadGauges(NamedTuple):
    """One model's gauges of running and waiting requests."""

    running: Gauge
    waiting: Gauge
    stalled: Gauge


class ReplicaMetrics:
    """Of the servers of models that have several."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["model", "replica"]
        self._in_rotation = Gauge(
            "enginix_replica_in_rotation",
            "Whether a replica gets requests, for every process of the gateway",
            labels,
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._running = Gauge(
            "enginix_replica_running_requests",
            "Requests on a replica",
            labels,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._retried = Counter(
            "enginix_replica_retried_requests_total",
            "Requests that began again on another replica",
            labels,
            registry=registry,
        )

    def follow(self, model: str, replica: Replica) -> None:
        labels = (model, replica.address)
        in_rotation, running = self._in_rotation.labels(*labels), self._running.labels(*labels)
        retried = self._retried.labels(*labels)

        def show() -> None:
            in_rotation.set(replica.out is None and not replica.resting)
            running.set(replica.running)

        def retry() -> None:
            retried.inc()

        replica.changed, replica.retried = show, retry
        show()


class KeyMetrics:
    """Of named API keys: there are never more series than keys times models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def count(name: str, text: str) -> Counter:
            return Counter(name, text, ["key", "model"], registry=registry)

        self._requests = count("enginix_key_requests_total", "Requests of an API key")
        self._failed = count("enginix_key_failed_requests_total", "Those that failed")
        self._prompt = count("enginix_key_prompt_tokens_total", "Tokens of its prompts")
        self._generated = count("enginix_key_generated_tokens_total", "Tokens generated for it")

    def used(self, key: str, model: str, used: Used) -> None:
        labels = (key, model)
        self._requests.labels(*labels).inc(used.requests)
        self._failed.labels(*labels).inc(used.failed)
        self._prompt.labels(*labels).inc(used.prompt_tokens)
        self._generated.labels(*labels).inc(used.completion_tokens)


class Metrics:
    """One gateway process's metrics, labelled by model."""

    def __init__(self, models: Sequence[str], shared_directory: str | None = None) -> None:
        self._shared_directory = shared_directory
        self._registry = registry = CollectorRegistry()

        def seconds(name: str, text: str) -> BucketHistogram:
            return BucketHistogram(name, text, ["model"], buckets=SECONDS, registry=registry)

        def count(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["model", *labels], registry=registry)

        def now(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["model"], registry=registry, multiprocess_mode="livesum")

        self._first_token = seconds("enginix_first_token_seconds", "Request to first token")
        self._duration = seconds("enginix_request_seconds", "Request to the answer's last byte")
        self._queued = seconds("enginix_queue_seconds", "Time in the gateway's queue")
        self._gaps = BucketHistogram(
            "enginix_inter_token_seconds",
            "Time between two tokens",
            ["model"],
            buckets=GAP_BUCKETS,
            registry=registry,
        )
        self._requests = count("enginix_requests_total", "Requests answered", "route", "status")
        self._prompt = count("enginix_prompt_tokens_total", "Tokens of prompts")
        self._cached = count("enginix_cached_prompt_tokens_total", "Those that were in the cache")
        self._generated = count("enginix_generated_tokens_total", "Tokens generated")
        self._cancelled = count("enginix_cancelled_requests_total", "Clients that left early")
        self._late = count("enginix_tokens_after_cancel_total", "Late tokens of cancelled requests")
        self._errors = count("enginix_errors_total", "Requests that failed, by kind", "kind")
        self._running = now("enginix_running_requests", "Requests being answered")
        self._waiting = now("enginix_waiting_requests", "Requests in the gateway's queue")
        self._stalled = now(
            "enginix_stalled_requests",
            "Requests without a first token while three later ones have theirs",
        )
        self._replicas, self._keys = ReplicaMetrics(registry), KeyMetrics(registry)
        self._series: dict[tuple[MetricWrapperBase, tuple[str, ...]], Any] = {}
        self.begin_at_zero(models)

    def load(self, model: str) -> LoadGauges:
        """Look the gauges up once: labels cost more than updates."""
        gauges = (self._running, self._waiting, self._stalled)
        return LoadGauges(*(gauge.labels(model) for gauge in gauges))

    def follow(self, model: str, replica: Replica) -> None:
        """Show the replica's state from now on."""
        self._replicas.follow(model, replica)

    def report_tokens(self, model: str, times: TokenTimes) -> None:
        if times.tokens:
            self._of(self._generated, model).inc(times.tokens)
            self._of(self._gaps, model).add(times.gaps, times.gap_seconds)

    def report_late_tokens(self, model: str, tokens: int) -> None:
        self._late.labels(model).inc(tokens)

    def finished(self, record: RequestRecord, route: str, seconds: float) -> None:
        """Count a request that has ended, successfully or not."""
        model = record.model or ""
        status = CLIENT_LEFT if record.client_left else record.status
        self._of(self._requests, model, route, str(status)).inc()
        if record.error:
            self._errors.labels(model, record.error).inc()
        if not record.model:
            return
        self._of(self._duration, model).note(seconds)
        self._of(self._prompt, model).inc(record.prompt_tokens)
        if record.cached_tokens is not None:
            self._of(self._cached, model).inc(record.cached_tokens)
        if record.key:
            self._keys.used(record.key.name, model, used_by(record))
        if record.client_left:
            self._cancelled.labels(model).inc()
        if record.queued is not None:
            self._of(self._queued, model).note(record.queued)
        if record.first_token is not None:
            self._of(self._first_token, model).note(record.first_token)

    def _of(self, metric: Labelled, *labels: str) -> Labelled:
        """The metric's series with these labels: `labels` takes longer than the update."""
        series: Labelled | None = self._series.get((metric, labels))
        if series is None:
            series = self._series[metric, labels] = metric.labels(*labels)
        return series

    def exposition(
        self,
        servers: Sequence[Sample] = (),
        conditions: Sequence[Condition] = (),
        home: Path | None = None,
    ) -> bytes:
        """The metrics of all workers in Prometheus' text format, with those of models' servers.

        `home`: a directory whose file system is among them.
        """
        registry = self._registry
        if self._shared_directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._shared_directory)  # type: ignore[no-untyped-call]
        own = list(registry.collect())
        registry = CollectorRegistry()
        found = [*server_families(own, servers), *condition_families(conditions)]
        found += disk_families(home) if home else []
        registry.register(Collected([*own, *found]))
        return generate_latest(registry)

    def begin_at_zero(self, models: Sequence[str]) -> None:
        # rate() needs a series to exist before its first event.
        for model in models:
            for metric in (self._cancelled, self._late, self._generated, self._prompt):
                metric.labels(model)
            self.load(model)


def _counter(name: str, text: str) -> Metric:
    # The suffix is added where it is written.
    return Metric(name.removesuffix("_total"), text, "counter")


def server_families(own: Iterable[Metric], servers: Iterable[Sample]) -> list[Metric]:
    """What endpoint pickers read: the servers' gauges, and our counts where a server has none.

    And the servers' counts of drafted tokens.
    """
    families = {
        REQUESTS: Metric(REQUESTS, "Requests in a model's server", "gauge"),
        KV_CACHE: Metric(KV_CACHE, "Blocks of its KV cache", "gauge"),
        DRAFTED: _counter(DRAFTED, "Tokens drafted by speculative decoding"),
        ACCEPTED: _counter(ACCEPTED, "Those of them that were generated"),
    }
    for sample in servers:
        families[sample.name].samples.append(sample)
    requests = families[REQUESTS].samples
    known = {(sample.labels["model"], sample.labels.get(REQUEST_TYPE)) for sample in requests}
    for sample in (sample for family in own for sample in family.samples):
        kind, model = OWN_COUNTS.get(sample.name), sample.labels.get("model", "")
        if kind and (model, kind) not in known:
            labels = {"model": model, REQUEST_TYPE: kind}
            requests.append(Sample(REQUESTS, labels, sample.value))
    return [family for family in families.values() if family.samples]
