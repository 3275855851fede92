"""A collector of traces: takes what is exported by OTLP over HTTP, as protobuf or JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """`answering` can be cleared: then it accepts what is exported and does not answer."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/v1/traces"
        self.answering = threading.Event()
        self.answering.set()
        self.unanswered = 0
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.json_spans: list[dict[str, Any]] = []
        """As Triton sends them."""
        self._changed = threading.Condition()

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        if body.startswith(b"{"):
            with self._changed:
                for resource in json.loads(body)["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        self.json_spans += scope["spans"]
                self._changed.notify_all()
            return
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for resource in request.resource_spans:
                self.resources.append(attributes_of(resource.resource))
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            self._changed.notify_all()

    def wait_for(self, servers: int, patience: float = 60.0) -> bool:
        """Whether so many requests' own spans came in time."""
        return self.wait_until(lambda: len(self.servers) >= servers, patience)

    def wait_until(self, condition: Callable[[], bool], patience: float = 60.0) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, patience)

    @property
    def servers(self) -> list[Span]:
        """The spans that stand for whole requests."""
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def stages(self, server: Span) -> list[Span]:
        """The spans below it, as they began."""
        below = [span for span in self.spans if span.parent_span_id == server.span_id]
        return sorted(below, key=lambda span: span.start_time_unix_nano)


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not receiver.answering.is_set():
                receiver.unanswered += 1
                receiver.answering.wait()
                receiver.unanswered -= 1
                return
            receiver.take(self.path, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()


def attributes_of(holder: Any) -> dict[str, Any]:
    """A span's or a resource's, as Python's values."""
    return {each.key: _value(each.value) for each in holder.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
