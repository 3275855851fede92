"""Makes the files of a report: CSV, markdown, pictures and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginix.bench.report.document import (
    Block,
    Bullets,
    Heading,
    Picture,
    Text,
    to_html,
    to_markdown,
)
from enginix.bench.report.measure import MIN_GROWTH, Measured, levels_of, saturated_at
from enginix.bench.report.pictures import pictures_of
from enginix.bench.report.servers import Server
from enginix.bench.report.slo import Slo
from enginix.bench.report.tables import (
    MAX_EVENTS_PER_READ,
    PARALLEL,
    SINGLE,
    Line,
    events_per_read,
    lines,
    percent_of_roofline,
    short,
)
from enginix.bench.summary import remarks


@dataclass(frozen=True, slots=True)
class Report:
    servers: Sequence[Server]
    single: Sequence[Measured]
    parallel: Sequence[Measured]
    slo: Slo
    started: str
    ended: str
    client: str
    conditions: Sequence[str]
    """Sentences on how the requests were made."""
    interrupted: bool
    plots: bool


def files(report: Report) -> Mapping[str, bytes]:
    """Name -> content."""
    single, parallel = lines(report.single, report.slo), lines(report.parallel, report.slo)
    pictures = pictures_of(single, parallel) if report.plots else {}
    blocks = [
        *_head(report),
        *_single(single, pictures),
        *_parallel(report, parallel, pictures),
        *_notes([*single, *parallel]),
        *_meaning(report.slo),
    ]
    return {
        "single_stream.csv": SINGLE.csv(single).encode(),
        "parallel.csv": PARALLEL.csv(parallel).encode(),
        **{each.name: each.png for each in pictures.values()},
        "report.md": to_markdown(blocks).encode(),
        "index.html": to_html(blocks).encode(),
    }


def _head(report: Report) -> list[Block]:
    names = ", ".join(dict.fromkeys(each.model for each in report.servers))
    blocks: list[Block] = [Heading(f"Benchmark of {names}", 1)]
    if report.interrupted:
        blocks.append(
            Text(
                "Incomplete: interrupted. The last level has fewer runs or requests than the "
                "others (column complete of the CSV files), and further levels are missing.",
                warning=True,
            )
        )
    blocks.append(Heading("What was measured, and where"))
    shown = [
        f"{each.name}: {each.model} at {each.url}, {each.software}; {each.details}"
        for each in report.servers
    ]
    if any(each.local for each in report.servers):
        shown.append("A server on the client's own machine shares its cores with the client.")
    items = [
        *shown,
        f"Client: {report.client}",
        f"From {report.started} to {report.ended}",
        *report.conditions,
    ]
    return [*blocks, Bullets(items)]


def _single(rows: Sequence[Line], pictures: Mapping[str, Picture]) -> list[Block]:
    if not rows:
        return [Heading("Single stream"), Text("Not measured.")]
    servers = dict.fromkeys(line.measured.server for line in rows)
    return [
        Heading("Single stream"),
        Text("One request at a time, by the length of the answer that is asked for."),
        *SINGLE.tables(rows),
        *_picture(pictures, "single"),
        Bullets([f"Roofline of {each.name}: {_ceiling(each)}" for each in servers]),
    ]


def _ceiling(server: Server) -> str:
    ceiling = server.roofline
    if ceiling.tokens_per_second is None:
        return ceiling.because
    return f"{short(ceiling.tokens_per_second)} tokens/s ({ceiling.because})"


def _parallel(report: Report, rows: Sequence[Line], pictures: Mapping[str, Picture]) -> list[Block]:
    if not rows:
        return [Heading("Parallel requests"), Text("Not measured.")]
    return [
        Heading("Parallel requests"),
        Text(f"Concurrent requests until saturation. Goodput is under {report.slo.text}."),
        *PARALLEL.tables(rows),
        *_picture(pictures, "parallel"),
        Bullets(saturations(report)),
    ]


def saturations(report: Report) -> list[str]:
    """A line per server: where its throughput stops growing."""
    return [
        f"{server.name}: {_saturation(levels_of(server, report.parallel))}"
        for server in report.servers
    ]


def _saturation(levels: Sequence[Measured]) -> str:
    if not levels:
        return "no level of parallel requests was completed"
    index = saturated_at(levels)
    if index is None:
        last = levels[-1]
        return (
            f"not saturated up to {last.concurrency} concurrent requests, "
            f"{short(last.tokens_per_second)} output tokens/s"
        )
    best, more = levels[index], levels[index + 1]
    growth = more.tokens_per_second / best.tokens_per_second - 1 if best.tokens_per_second else 0
    return (
        f"saturated at {best.concurrency} concurrent request{'s' * (best.concurrency > 1)}, "
        f"{short(best.tokens_per_second)} output tokens/s; {more.concurrency} brought "
        f"{growth:+.0%}, not the {MIN_GROWTH:.0%} that count as growth"
    )


def _notes(rows: Sequence[Line]) -> list[Block]:
    """Failures and doubts that a reader of the numbers must know."""
    items = []
    for line in rows:
        measured = line.measured
        where = (
            f"{measured.server.name}, {measured.concurrency} concurrent, "
            f"{measured.max_tokens} tokens"
        )
        if not measured.complete:
            items.append(f"{where}: incomplete")
        items += [f"{where}: {remark}" for remark in [*remarks(line.summary), *_doubts(line)]]
        items += [
            f"{where}: {count} failed: {message}" for message, count in line.summary.errors.items()
        ]
    return [Heading("Failures and remarks"), Bullets(items) if items else Text("None.")]


def _doubts(line: Line) -> list[str]:
    found = []
    asked, summary = line.measured.max_tokens, line.summary
    if summary.ok and (mean := summary.output_tokens / summary.ok) < 0.95 * asked:
        found.append(f"answers of {short(mean)} tokens on average, shorter than asked for")
    if (together := events_per_read(line)) > MAX_EVENTS_PER_READ:
        found.append(
            f"{together:.0f} events arrived at once on average: a proxy or a busy machine gathered "
            "them, so the first token is later and the time per token shorter than the server's"
        )
    if (percent := percent_of_roofline(line) or 0) > 100:
        found.append(
            f"{percent:.0f} % of the roofline: speculative decoding, weights in a cache of the "
            "processor, or tokens that were gathered on their way"
        )
    return found


def _meaning(slo: Slo) -> list[Block]:
    return [
        Heading("What the numbers mean"),
        Bullets(
            [
                "Latencies are those of successful answers; p50 and p99 are over all requests of "
                "all runs; of fewer than 100, p99 is nearly the slowest. Rates are over the whole "
                "time of a level, failed requests not counted.",
                "first token: from the request's first byte to the first text. inter-token: from "
                "one event to the next. per token: an answer's average after its first token. "
                "decode tokens/s: its inverse, without the time to the first token.",
                "counted by: the server's usage, or the events that arrived if it sends none.",
                f"goodput: answers per second that meet {slo.text}, where itl is an answer's time "
                "per token; % within SLO is their share of all requests, failed ones included.",
                "cached tokens (mean per prompt) and acceptance (of drafted tokens) are the "
                "server's own counts; without a column, no server says them.",
            ]
        ),
    ]


def _picture(pictures: Mapping[str, Picture], name: str) -> list[Block]:
    return [pictures[name]] if name in pictures else []
