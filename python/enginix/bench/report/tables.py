"""A report's tables: the columns of a level, as CSV and as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from enginix.bench.report.measure import Measured
from enginix.bench.report.slo import Slo
from enginix.bench.summary import Spread, Summary

# Speculative decoding makes a few tokens at once. More than that were gathered on their way, by a
# proxy or by a busy machine, and the times between them are not the server's.
MAX_EVENTS_PER_READ = 8

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Line:
    """One server at one level, with everything that its row needs."""

    measured: Measured
    summary: Summary
    within_slo: int
    first: float | None
    """Output tokens per second of the first server at this level."""


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    """Its name in CSV files."""
    take: Callable[[Line], Value]
    title: str | None = None
    """In the report's tables, which leave out columns without one."""


@dataclass(frozen=True, slots=True)
class Table:
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def lines(results: Sequence[Measured], slo: Slo) -> list[Line]:
    """In the order of `results`; levels without an answer are left out."""
    made = []
    rates = {}
    for measured in results:
        if not measured.answers:
            continue
        summary = measured.summary()
        level = measured.concurrency, measured.max_tokens
        is_first = measured.server is results[0].server
        if is_first:
            rates[level] = summary.output_tokens_per_second
        within = sum(slo.met_by(answer) for answer in measured.answers)
        made.append(Line(measured, summary, within, None if is_first else rates.get(level)))
    return made


def to_csv(columns: Sequence[Column], rows: Sequence[Line]) -> str:
    """CSV with six digits per number, and empty fields for unknown ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    writer.writerows([[_exact(column.take(row)) for column in columns] for row in rows])
    return text.getvalue()


def table(columns: Sequence[Column], rows: Sequence[Line]) -> Table:
    """The columns that have a title and a value in any row."""
    cells = [(each.title, [each.take(row) for row in rows]) for each in columns if each.title]
    shown = [(title, taken) for title, taken in cells if any(one is not None for one in taken)]
    values = zip(*(taken for _, taken in shown), strict=True)
    return Table([title for title, _ in shown], [[short(one) for one in row] for row in values])


def short(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _exact(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _spread(
    key: str, title: str, take: Callable[[Summary], Spread | None], shown: Sequence[str]
) -> list[Column]:
    def column(name: str) -> Column:
        def value(line: Line) -> float | None:
            found = take(line.summary)
            return None if found is None else float(getattr(found, name))

        return Column(f"{key}_ms_{name}", value, f"{title} {name}, ms" if name in shown else None)

    return [column(name) for name in ("mean", "p50", "p90", "p99")]


def _per_run(line: Line) -> list[float]:
    runs = line.measured.runs
    good = [sum(each.tokens for each in run.answers if not each.failure) for run in runs]
    return [tokens / run.seconds for tokens, run in zip(good, runs, strict=True) if run.seconds]


def _relative(line: Line) -> float | None:
    return line.summary.output_tokens_per_second / line.first if line.first else None


def events_per_read(line: Line) -> float:
    """How many events arrived at once, on average."""
    arrivals = [answer.arrivals for answer in line.measured.answers if not answer.failure]
    return sum(map(len, arrivals)) / max(sum(len(set(each)) for each in arrivals), 1)


def decode_rate(line: Line) -> float | None:
    """Tokens per second after the first token, if they were seen one after the other."""
    if events_per_read(line) > MAX_EVENTS_PER_READ:
        return None
    spread = line.summary.per_token
    return 1e3 / spread.mean if spread and spread.mean else None


def percent_of_roofline(line: Line) -> float | None:
    rate, ceiling = decode_rate(line), line.measured.server.roofline.tokens_per_second
    return rate / ceiling * 100 if rate and ceiling else None


def _mean_output(line: Line) -> float | None:
    return line.summary.output_tokens / line.summary.ok if line.summary.ok else None


def _counted_by(line: Line) -> str | None:
    if not line.summary.ok:
        return None
    return "usage" if line.summary.counted_by_server else "events"


_RUNS = [
    Column("runs", lambda line: len(line.measured.runs), "runs"),
    Column("complete", lambda line: "yes" if line.measured.complete else "no"),
    Column("requests_ok", lambda line: line.summary.ok, "ok"),
    Column("requests_failed", lambda line: line.summary.failed, "failed"),
    Column("prompt_tokens_mean", lambda line: line.summary.prompt_tokens, "prompt tokens"),
    Column("output_tokens_mean", _mean_output, "output tokens"),
    Column("tokens_counted_by", _counted_by, "counted by"),
    Column(
        "output_tokens_per_second",
        lambda line: line.summary.output_tokens_per_second,
        "output tokens/s",
    ),
    Column(
        "output_tokens_per_second_min", lambda line: min(_per_run(line), default=None), "lowest run"
    ),
    Column(
        "output_tokens_per_second_max",
        lambda line: max(_per_run(line), default=None),
        "highest run",
    ),
    Column("relative_to_first_server", _relative, "x first"),
]
_LATENCIES = [
    *_spread("first_token", "first token", lambda one: one.first_token, ("p50", "p99")),
    *_spread("between_events", "inter-token", lambda one: one.between_events, ("p50", "p99")),
    *_spread("per_token", "per token", lambda one: one.per_token, ("p50", "p99")),
    *_spread("end_to_end", "end to end", lambda one: one.end_to_end, ("p50", "p99")),
]
_SAID = [
    Column("cached_tokens_mean", lambda line: line.summary.cached_tokens, "cached tokens"),
    Column("acceptance", lambda line: line.summary.acceptance, "acceptance"),
    Column("client_cpu", lambda line: line.summary.client_cpu),
]
_SERVER = Column("server", lambda line: line.measured.server.name, "server")


@dataclass(frozen=True, slots=True)
class Columns:
    """One CSV file, and two tables of the report that begin with the same columns."""

    level: Sequence[Column]
    throughput: Sequence[Column]
    latency: Sequence[Column]

    def csv(self, rows: Sequence[Line]) -> str:
        where = [
            Column("url", lambda line: line.measured.server.url),
            Column("model", lambda line: line.measured.server.model),
        ]
        return to_csv([*self.level, *where, *self.throughput, *self.latency], rows)

    def tables(self, rows: Sequence[Line]) -> list[Table]:
        return [table([*self.level, *each], rows) for each in (self.throughput, self.latency)]


SINGLE = Columns(
    level=[Column("max_tokens", lambda line: line.measured.max_tokens, "asked for"), _SERVER],
    throughput=[
        *_RUNS,
        Column("decode_tokens_per_second", decode_rate, "decode tokens/s"),
        Column(
            "roofline_tokens_per_second",
            lambda line: line.measured.server.roofline.tokens_per_second,
            "roofline tokens/s",
        ),
        Column("percent_of_roofline", percent_of_roofline, "% of roofline"),
        *_SAID,
    ],
    latency=_LATENCIES,
)
PARALLEL = Columns(
    level=[Column("concurrency", lambda line: line.measured.concurrency, "concurrent"), _SERVER],
    throughput=[
        Column("max_tokens", lambda line: line.measured.max_tokens),
        *_RUNS,
        Column("requests_per_second", lambda line: line.summary.requests_per_second, "requests/s"),
        Column(
            "goodput_requests_per_second",
            lambda line: line.within_slo / max(line.summary.seconds, 1e-9),
            "goodput requests/s",
        ),
        Column(
            "percent_within_slo",
            lambda line: 100.0 * line.within_slo / len(line.measured.answers),
            "% within SLO",
        ),
        *_SAID,
    ],
    latency=_LATENCIES,
)
