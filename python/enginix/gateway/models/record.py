"""What is known about one HTTP request while it runs, for its log line and the metrics."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from enginix.gateway.keys.key import Key, Standing
from enginix.generation.request import Headers, Origin

# Upper bounds, in seconds between two tokens, of the histogram's buckets.
GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# How often a long answer's tokens are added to the metrics.
REPORT_SECONDS = 1.0


# Gets a function that tells about how many requests are served before this one.
WhileWaiting = Callable[[Callable[[], int]], AbstractAsyncContextManager[None]]


class RequestTrace(Protocol):
    """The trace of one request; see gateway/traces/."""

    @property
    def id(self) -> str: ...
    @property
    def headers(self) -> Headers:
        """What its model's server is told, so that its own spans join the trace."""

    def stage(self, name: str) -> None:
        """The stage begins, and the one before it ends."""

    def asked(self, body: Any) -> None:
        """The request's body is here and decoded."""

    def answered(self, body: bytes) -> None:
        """A server's reply, or the first and the last events of its stream, is passed through."""

    def end(self, record: RequestRecord) -> None: ...


class Pulse(Protocol):
    """Stores the time of the model's last token, of any request."""

    last_token: float


@dataclass(slots=True)
class TokenTimes:
    """Token arrival times of one choice; call `arrived` for every batch."""

    pulse: Pulse
    report: Callable[[TokenTimes], None]
    clock: Callable[[], float] = time.monotonic
    began: Callable[[], None] | None = None
    """Called for the first token."""
    first: float | None = None
    last: float = 0.0
    total: int = 0
    tokens: int = 0
    """Since the last report, like the gaps."""
    gaps: list[int] = field(default_factory=lambda: [0] * (len(GAP_BUCKETS) + 1))
    gap_seconds: float = 0.0
    _reported: float = 0.0

    def arrived(self, tokens: int) -> None:
        now = self.pulse.last_token = self.clock()
        self.tokens += tokens
        self.total += tokens
        if self.first is None:
            self.first = self.last = self._reported = now
            if self.began is not None:
                self.began()
                self.began = None
            return
        # Tokens of one batch share the time since the previous batch.
        since = now - self.last
        self.gaps[bisect_left(GAP_BUCKETS, since / tokens)] += tokens
        self.gap_seconds += since
        self.last = now
        if now - self._reported > REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report what was counted since the last report."""
        self.report(self)
        self.tokens = 0
        self.gaps = [0] * len(self.gaps)
        self.gap_seconds = 0.0
        self._reported = self.last


@dataclass(slots=True)
class RequestRecord:
    id: str
    started: float
    path: str = ""
    client: str | None = None
    """The address that the request came from."""
    key: Key | None = None
    """The named key that it was sent with; None where keys have no names, or none is needed."""
    charged: int | None = None
    """The tokens that its key was charged; None before it is admitted."""
    standing: Mapping[str, Standing] | None = None
    """What was left of its key's limits, of "requests" and "tokens"; None without any."""
    priority: int | None = None
    """As the body asks; None for its key's."""
    while_waiting: WhileWaiting | None = None
    """Runs while the request waits for a slot, for a stream that says so."""
    model: str | None = None
    status: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    """Those of the prompt that were in the model's cache; None if that is not known."""
    completion_tokens: int = 0
    queued: float | None = None
    """Seconds in the queue; None if the request never left it."""
    first_token: float | None = None
    """Seconds from the request to its first token."""
    finish_reasons: list[str] = field(default_factory=list)
    client_left: bool = False
    error: str | None = None
    """The error's class name."""
    prompt: object = None
    """Kept only if the operator wants prompts in the log."""
    reply_id: str | None = None
    """What its client knows the reply by; None if a server's is passed through."""
    trace: RequestTrace | None = None
    """None where traces are off."""

    @property
    def rank(self) -> int:
        """Its place among those that wait: lower is sooner."""
        if self.priority is not None:
            return self.priority
        return self.key.priority if self.key else 0

    @property
    def origin(self) -> Origin:
        """What the model's server is told of the request."""
        return Origin(self.id, self.trace.headers if self.trace is not None else ())

    def stage(self, name: str) -> None:
        """A stage begins, for the request's trace."""
        if self.trace is not None:
            self.trace.stage(name)

    def token_came(self) -> float:
        """Note the first token; return the seconds that it took."""
        self.stage("stream")
        self.first_token = time.monotonic() - self.started
        return self.first_token
