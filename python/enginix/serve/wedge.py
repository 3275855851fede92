"""Decides whether a server is dead, wedged or partly dead, from probes and real traffic.

Pure: the caller passes the time. Three findings end a server:

- wedged: probes fail one after another, no token comes out, and it does no work;
- stuck: it works, but no token comes out for longer than any prefill takes;
- partly dead: probes hang while later ones are answered. One good answer does not clear the hung
  ones: with one of four sender threads blocked, three of four requests work.

Busy is not dead: a server that reads long prompts delays all probes alike, and in their order. Nor
is one for which no processor is free: the machine has too much work, and a restart makes more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds and counts; with these a wedged or partly dead server is found within ten seconds."""

    look_every: float = 1.0
    look_again: float = 0.25
    """During a burst of probes."""
    probe_every: float = 3.0
    """The pause after a good probe, and before the next suspicion counts."""
    probe_again: float = 1.0
    """When a probe is not answered for so long, another one is sent."""
    strikes: int = 3
    """Failed probes in a row, sent at least `apart` from each other."""
    apart: float = 0.5
    busy: float = 120.0
    """How long a server that works may produce no token."""
    working: float = 0.2
    """Processor seconds per second that count as work: an idle server's timers need far less."""
    starved: float = 0.5
    """Seconds per second without a free processor that count like work, its own or ours: who is
    not run cannot answer, and who is not run in time takes an answer for none."""
    burst: tuple[int, ...] = (5, 3, 7, 2, 6)
    """Probes at each look after a suspicion: each of eight senders is hit at least twice.

    Uneven, so that they do not run in step with real traffic and always miss the dead part.
    """
    hang: float = 1.0
    """How long a probe must have waited to count as hung: a refusal comes at once."""
    overtaken_by: int = 3
    """How many later probes must be answered first for a failed probe to count as overtaken."""
    hung: int = 2
    """Hung probes within `window` that mean a server is partly dead."""
    window: float = 60.0
    longest_pause: float = 30.0
    """The longest pause between bursts, while the suspicion stays and all probes are answered."""


@dataclass(slots=True)
class _Probe:
    started: float
    spent: float
    starved: float
    overtaken: int = 0


@dataclass(slots=True)
class WedgeDetector:
    policy: Policy
    now: float
    verdict: str | None = None
    _tokens: float | None = None
    _progress: float = field(init=False)
    _open: dict[int, _Probe] = field(default_factory=dict)
    _count: int = 0
    _last_probe: float = field(init=False)
    _strikes: int = 0
    _struck: float = -float("inf")
    """When the probe of the last strike was sent."""
    _hung: deque[float] = field(default_factory=deque)
    _answered: deque[float] = field(default_factory=deque)
    _to_send: list[int] = field(default_factory=list)
    _burst_ends: float = -float("inf")
    _pause: float = field(init=False)

    def __post_init__(self) -> None:
        self._progress = self._last_probe = self.now
        self._pause = self.policy.probe_every

    def look(self, now: float, tokens: float | None, suspicion: bool) -> int:
        """How many probes to send now.

        `tokens`: of real traffic so far, None if unknown. `suspicion`: a real request waits while
        later ones are answered, or one has timed out.
        """
        self.now = now
        before, self._tokens = self._tokens, tokens
        if tokens is not None and before is not None and tokens != before:
            self._progressed()
        if suspicion and not self._to_send and now - self._burst_ends >= self._pause:
            self._suspect()
            # Clean bursts become rare: short prompts may well overtake a long one.
            self._pause = min(2 * self._pause, self.policy.longest_pause)
        elif not suspicion and not self._hung:
            self._pause = self.policy.probe_every
        return self._wanted()

    @property
    def next_look(self) -> float:
        return self.policy.look_again if self._to_send else self.policy.look_every

    def started(self, now: float, spent: float, starved: float = 0.0) -> int:
        """Record that a probe is sent; return its number.

        `spent`: the server's processor time. `starved`: how long it or we wanted one in vain.
        """
        self.now = self._last_probe = now
        self._count += 1
        self._open[self._count] = _Probe(now, spent, starved)
        return self._count

    def answered(self, number: int, now: float) -> None:
        self.now = now
        del self._open[number]
        for other, probe in self._open.items():
            if other < number:
                probe.overtaken += 1
        if self._strikes:
            # One probe failed and the next was answered.
            self._suspect()
        self._progressed()
        self._answered.append(now)

    def failed(
        self, number: int, now: float, spent: float, reason: str, starved: float = 0.0
    ) -> None:
        """Record that a probe got an error, or no token within its deadline."""
        self.now = now
        probe = self._open.pop(number)
        waited = now - probe.started >= self.policy.hang
        if waited and probe.overtaken >= self.policy.overtaken_by:
            self._hung.append(now)
            self._count_hung(reason)
        elif self._progress <= probe.started:
            self._strike(probe, spent, starved, reason)
        elif waited:
            # It hung while tokens came out: the sign of a partly dead server.
            self._suspect()

    def _progressed(self) -> None:
        self._progress = self.now
        self._strikes = 0

    def _suspect(self) -> None:
        if not self._to_send:
            self._to_send = list(self.policy.burst)

    def _wanted(self) -> int:
        if self._to_send:
            step = self._to_send.pop(0)
            if not self._to_send:
                self._burst_ends = self.now
            return step
        quiet = self.now - max(self._progress, self._last_probe)
        waiting = len(self._open) + self._strikes
        if not waiting:
            return int(quiet >= self.policy.probe_every)
        # The next probes must not wait for the first one's deadline.
        return int(waiting < self.policy.strikes and quiet >= self.policy.probe_again)

    def _strike(self, probe: _Probe, spent: float, starved: float, reason: str) -> None:
        elapsed = max(self.now - probe.started, 1e-9)
        worked = spent - probe.spent >= self.policy.working * elapsed
        unserved = starved - probe.starved >= self.policy.starved * elapsed
        silent = self.now - self._progress
        if (worked or unserved) and silent < self.policy.busy:
            self._strikes = 0
            return
        if worked or unserved:
            what = "it was busy" if worked else "this machine had no processor free"
            self.verdict = f"{what} for {silent:.0f} s and no token came out: {reason}"
            return
        if probe.started - self._struck < self.policy.apart:
            # Probes that were sent together are hit by the same short freeze.
            return
        self._struck = probe.started
        self._strikes += 1
        if self._strikes >= self.policy.strikes:
            self.verdict = f"no token came out, {self._strikes} times in a row: {reason}"

    def _count_hung(self, reason: str) -> None:
        since = self.now - self.policy.window
        for times in (self._hung, self._answered):
            while times and times[0] < since:
                times.popleft()
        hung, answered = len(self._hung), len(self._answered)
        if hung >= self.policy.hung:
            self.verdict = (
                f"it is partly dead: {hung} of {hung + answered} requests for one token hung, "
                f"while later ones were answered: {reason}"
            )
