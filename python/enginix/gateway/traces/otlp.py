"""Records requests as OpenTelemetry's spans, and sends them by OTLP over HTTP in a thread.

A request has one span of kind SERVER. What happens in it is noted as it happens, one time stamp a
stage, and becomes spans when the request has ended: nothing is done for a token.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from threading import Thread
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from enginix import __version__
from enginix.gateway.models.record import RequestRecord
from enginix.gateway.settings import TraceSettings
from enginix.gateway.traces.attributes import (
    OPERATIONS,
    has_failed,
    passed_attributes,
    prompt_attributes,
    reply_attributes,
    request_attributes,
)
from enginix.generation.request import Headers

logger = logging.getLogger(__name__)

PROPAGATOR = TraceContextTextMapPropagator()
IDENTITIES = RandomIdGenerator()
SCOPE = InstrumentationScope("enginix", __version__)
OK = Status()
HEADERS = (b"traceparent", b"tracestate")
# What W3C's recommendation asks to be passed on; more would not fit a frame of HTTP/2.
MAX_STATE = 512
EXPORT_SECONDS = 10.0
# How long the last spans may delay the end of the process.
SHUTDOWN_SECONDS = 1.5
LOG_SECONDS = 60.0


class OtlpTracing:
    """Traces the requests of one process."""

    def __init__(self, settings: TraceSettings) -> None:
        sdk = logging.getLogger("opentelemetry")
        sdk.handlers, sdk.propagate = [OncePerMinute(settings.endpoint)], False
        own = Resource(
            {
                "service.name": "enginix",
                "service.version": __version__,
                "process.pid": os.getpid(),
            }
        )
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go first.
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            resource=own.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(settings.endpoint, timeout=EXPORT_SECONDS)
        # Its queue is bounded: what does not fit is dropped.
        self._processor: SpanProcessor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer(SCOPE.name, SCOPE.version)
        self._prompts = settings.prompts

    def begin(self, scope: Scope) -> OtlpTrace | None:
        """None for a request that is for no model."""
        operation = OPERATIONS.get(scope["path"])
        if operation is None or scope["method"] != "POST":
            return None
        path, now = scope["path"], time.time_ns()
        attributes = {
            "http.request.method": "POST",
            "http.route": path,
            "url.path": path,
            "url.scheme": scope["scheme"],
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "enginix",
        }
        span = self._tracer.start_span(
            operation, parent_of(scope), SpanKind.SERVER, attributes, start_time=now
        )
        return OtlpTrace(self, span, path, now, prompts=self._prompts)

    def add_stage(
        self, name: str, parent: SpanContext, times: tuple[int, int], status: Status
    ) -> None:
        """A span that has ended: a tenth of the work of one that begins, and ends."""
        context = SpanContext(
            parent.trace_id,
            IDENTITIES.generate_span_id(),
            is_remote=False,
            trace_flags=parent.trace_flags,
            trace_state=parent.trace_state,
        )
        span = ReadableSpan(
            name,
            context,
            parent,
            self._provider.resource,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=SCOPE,
        )
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    @asynccontextmanager
    async def exporting(self) -> AsyncIterator[None]:
        """Send what is left when the block ends, if that is quick."""
        try:
            yield
        finally:
            # A daemon: the exporter may still wait for a server that does not answer.
            last = Thread(target=self.close, daemon=True)
            last.start()
            await asyncio.to_thread(last.join, SHUTDOWN_SECONDS)


class OtlpTrace:
    """One request."""

    def __init__(
        self, tracing: OtlpTracing, span: Span, path: str, began: int, *, prompts: bool
    ) -> None:
        self._tracing = tracing
        self._span = span
        self._path = path
        self._prompts = prompts
        self._streams = False
        # Name and beginning, in nanoseconds since 1970.
        self._stages = [("receive", began)]

    @property
    def id(self) -> str:
        return f"{self._span.get_span_context().trace_id:032x}"

    @cached_property
    def headers(self) -> Headers:
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, set_span_in_context(self._span, Context()))
        return tuple(carrier.items())

    def stage(self, name: str) -> None:
        self._stages.append((name, time.time_ns()))

    def asked(self, body: Any) -> None:
        self.stage("prepare")
        if not self._span.is_recording():
            return
        attributes = request_attributes(self._path, body)
        self._streams = "gen_ai.request.stream" in attributes
        if self._prompts:
            attributes |= prompt_attributes(body)
        self._span.set_attributes(attributes)

    def answered(self, body: bytes) -> None:
        if self._span.is_recording():
            self._span.set_attributes(passed_attributes(body))

    def end(self, record: RequestRecord) -> None:
        if not self._span.is_recording():
            return
        now = time.time_ns()
        failed = Status(StatusCode.ERROR) if has_failed(record) else OK
        context = self._span.get_span_context()
        ends = [began for _, began in self._stages[1:]]
        for (name, began), ended in zip(self._stages, [*ends, now], strict=True):
            status = failed if ended == now else OK
            self._tracing.add_stage(name, context, (began, ended), status)
        if record.model is not None:
            self._span.update_name(f"{OPERATIONS[self._path]} {record.model}")
        self._span.set_attributes(reply_attributes(record, streams=self._streams))
        self._span.set_status(failed)
        self._span.end(now)


def parent_of(scope: Scope) -> Context:
    """What the client's headers say of the trace that its request belongs to."""
    carrier: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in HEADERS:
            carrier.setdefault(name.decode(), []).append(value.decode("latin-1"))
    if sum(map(len, carrier.get("tracestate", ()))) > MAX_STATE:
        del carrier["tracestate"]
    return PROPAGATOR.extract(carrier, Context())


class OncePerMinute(logging.Handler):
    """Says what OpenTelemetry reports: it retries and drops for as long as no collector listens."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._endpoint = endpoint
        self._clock = clock
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + LOG_SECONDS
            why = record.getMessage()[:300]
            logger.warning("traces to %s: %s; serving goes on", self._endpoint, why)
