"""Summarises answers: percentiles, rates, and error counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from enginix.bench.load import MAX_FAILURES_IN_A_ROW, Run

# Above this share of a core, the client may be the bottleneck.
MAX_CLIENT_CPU = 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One level. Latencies are those of successful answers, None if there are none."""

    concurrency: int | None
    rate: float | None
    ok: int
    failed: int
    errors: dict[str, int]
    """Error messages and how often each occurred, in order of first occurrence."""
    given_up: bool
    seconds: float
    prompt_tokens: float | None
    """Average per request."""
    output_tokens: int
    events: int
    counted_by_server: bool
    """False: the server sends no `usage`, so each event counts as one token."""
    first_token: Spread | None
    between_events: Spread | None
    per_token: Spread | None
    end_to_end: Spread | None
    output_tokens_per_second: float
    requests_per_second: float
    client_cpu: float
    """This process's share of one core."""
    cached_tokens: float | None = None
    """Prompt tokens from the server's cache, on average per request; None if it does not say."""
    acceptance: float | None = None
    """The share of drafted tokens that were accepted; None without speculative decoding."""

    @property
    def label(self) -> str:
        return str(self.concurrency) if self.concurrency else f"{self.rate:g}/s"


def summarized(run: Run) -> Summary:
    good = [answer for answer in run.answers if not answer.failure]
    seconds = max(run.seconds, 1e-9)
    prompts = [one.prompt_tokens for one in good if one.prompt_tokens is not None]
    tokens = sum(answer.tokens for answer in good)
    cached = [one.cached_tokens for one in good if one.cached_tokens is not None]
    drafted = sum(one.drafted_tokens or 0 for one in good)
    accepted = sum(one.accepted_tokens or 0 for one in good)
    if not drafted and run.drafts:
        drafted, accepted = run.drafts
    per_token = [one.seconds_per_token for one in good]
    return Summary(
        concurrency=run.level.concurrency,
        rate=run.level.rate,
        ok=len(good),
        failed=len(run.answers) - len(good),
        errors=dict(Counter(one.failure for one in run.answers if one.failure)),
        given_up=run.given_up,
        seconds=run.seconds,
        prompt_tokens=sum(prompts) / len(prompts) if prompts else None,
        output_tokens=tokens,
        events=sum(len(answer.arrivals) for answer in good),
        counted_by_server=all(answer.output_tokens is not None for answer in good),
        first_token=spread([answer.first_token_seconds for answer in good]),
        between_events=spread([gap for answer in good for gap in answer.gaps]),
        per_token=spread([one for one in per_token if one is not None]),
        end_to_end=spread([answer.seconds for answer in good]),
        output_tokens_per_second=tokens / seconds,
        requests_per_second=len(good) / seconds,
        client_cpu=run.cpu_seconds / seconds,
        cached_tokens=sum(cached) / len(cached) if cached else None,
        acceptance=accepted / drafted if drafted else None,
    )


def spread(seconds: Sequence[float]) -> Spread | None:
    if not seconds:
        return None
    ordered = sorted(one * 1e3 for one in seconds)
    return Spread(
        sum(ordered) / len(ordered), *(percentile(ordered, share) for share in (0.5, 0.9, 0.99))
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Interpolate linearly between the two nearest values, like numpy and spreadsheets."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def remarks(summary: Summary) -> list[str]:
    """What a reader of the numbers must know."""
    found = []
    if summary.given_up:
        found.append(f"stopped after {MAX_FAILURES_IN_A_ROW} failures in a row")
    if summary.ok and not summary.counted_by_server:
        found.append("the server sends no usage: each event was counted as one token")
    elif summary.events and summary.output_tokens > 1.2 * summary.events:
        each = summary.output_tokens / summary.events
        found.append(f"an event has {each:.1f} tokens on average: see `per output token`")
    if summary.acceptance is not None:
        found.append(f"{summary.acceptance:.0%} of the drafted tokens were accepted")
    if summary.client_cpu > MAX_CLIENT_CPU:
        found.append(
            f"this client used {summary.client_cpu:.0%} of a core: it may be the bottleneck; "
            "measure from several processes or machines"
        )
    return found
