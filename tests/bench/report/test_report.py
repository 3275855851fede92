"""A report's files: what they say, and that nothing is hidden."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from enginix.bench.report.measure import Measured
from enginix.bench.report.report import Report, files, saturations
from enginix.bench.report.servers import Server
from enginix.bench.report.slo import parse_slo
from tests.bench.report.made import answer, measured, server

ONE, TWO = server("one", ceiling=200), server("two")


def report(
    single: Sequence[Measured] = (),
    parallel: Sequence[Measured] = (),
    *,
    servers: Sequence[Server] = (ONE, TWO),
    interrupted: bool = False,
    plots: bool = False,
) -> Report:
    return Report(
        servers=servers,
        single=single,
        parallel=parallel,
        slo=parse_slo("ttft=500ms,itl=50ms"),
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:14:05+00:00",
        client="a processor, 2 logical cores",
        conditions=["2 runs of each level"],
        interrupted=interrupted,
        plots=plots,
    )


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def markdown(made: Report) -> str:
    return files(made)["report.md"].decode()


class Page(HTMLParser):
    """The tags, attributes and text of a page; a tag that is left open fails the test."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


BOTH = report(
    [measured(ONE, 1, 50, tokens=64), measured(TWO, 1, 100, tokens=64)],
    [
        measured(ONE, 4, 100),
        measured(TWO, 4, 150),
        measured(ONE, 8, 103),
        measured(TWO, 8, 300, answer(10, "HTTP 503: full|<i>")),
    ],
)


def test_the_single_stream_is_one_row_for_each_length_and_server() -> None:
    one, two = rows(files(BOTH)["single_stream.csv"])

    assert (one["max_tokens"], one["server"], two["server"]) == ("64", "one", "two")
    assert (one["runs"], one["requests_ok"], one["requests_failed"]) == ("2", "2", "0")
    assert (one["prompt_tokens_mean"], one["output_tokens_mean"]) == ("20", "64")
    assert float(one["output_tokens_per_second"]) == pytest.approx(50)
    assert float(one["output_tokens_per_second_min"]) == pytest.approx(37.5)
    assert float(one["output_tokens_per_second_max"]) == pytest.approx(75)
    assert (one["relative_to_first_server"], two["relative_to_first_server"]) == ("", "2")
    assert float(one["first_token_ms_p50"]) == pytest.approx(100)
    assert float(one["per_token_ms_p99"]) == pytest.approx(10)
    assert one["cached_tokens_mean"] == "5"
    assert one["acceptance"] == ""


def test_the_roofline_stands_beside_the_single_stream_where_it_is_known() -> None:
    one, two = rows(files(BOTH)["single_stream.csv"])

    assert float(one["decode_tokens_per_second"]) == pytest.approx(100)
    assert (one["roofline_tokens_per_second"], one["percent_of_roofline"]) == ("200", "50")
    assert (two["roofline_tokens_per_second"], two["percent_of_roofline"]) == ("", "")
    assert "- Roofline of one: 200 tokens/s (4800 GB/s)" in markdown(BOTH)
    assert "- Roofline of two: unknown: --gpu" in markdown(BOTH)


def test_more_than_the_roofline_is_a_remark() -> None:
    slow = report([measured(server("one", ceiling=80), 1, 50, tokens=64)])

    assert "one, 1 concurrent, 64 tokens: 125 % of the roofline: speculative" in markdown(slow)
    assert "% of the roofline: " not in markdown(BOTH)


def test_goodput_counts_failed_requests_as_missed() -> None:
    found = rows(files(BOTH)["parallel.csv"])

    assert [row["percent_within_slo"] for row in found] == ["100", "100", "100", "50"]
    last = found[-1]
    assert (last["requests_ok"], last["requests_failed"]) == ("2", "2")
    assert float(last["goodput_requests_per_second"]) == pytest.approx(2 / (20 / 300))


def test_failures_are_listed_with_their_message_as_text() -> None:
    made = files(BOTH)

    assert (
        "two, 8 concurrent, 10 tokens: 2 failed: HTTP 503: full|\\<i>" in made["report.md"].decode()
    )
    assert "2 failed: HTTP 503: full|<i>" in Page(made["index.html"]).text


def test_saturation_is_one_line_for_each_server() -> None:
    assert saturations(BOTH) == [
        "one: saturated at 4 concurrent requests, 100 output tokens/s; 8 brought +3%, not the 5% "
        "that count as growth",
        "two: not saturated up to 8 concurrent requests, 300 output tokens/s",
    ]


def test_who_counted_the_tokens_is_said() -> None:
    made = report([measured(ONE, 1, 50, usage=False)], servers=[ONE])

    assert rows(files(made)["single_stream.csv"])[0]["tokens_counted_by"] == "events"
    assert "the server sends no usage: each event was counted as one token" in markdown(made)


def test_answers_shorter_than_asked_for_are_a_remark() -> None:
    short = measured(ONE, 1, 50, tokens=10)
    short.max_tokens = 64

    assert "answers of 10 tokens on average, shorter than asked for" in markdown(report([short]))


def test_tokens_that_arrived_together_are_no_decode_rate() -> None:
    gathered = measured(ONE, 1, 50, tokens=64)
    for each in gathered.answers:
        each.arrivals = [0.5] * 60 + [0.51] * 4
    made = files(report([gathered]))

    [row] = rows(made["single_stream.csv"])
    assert (row["decode_tokens_per_second"], row["percent_of_roofline"]) == ("", "")
    assert "32 events arrived at once on average" in made["report.md"].decode()


def test_an_interrupted_report_says_so_and_which_level_is_incomplete() -> None:
    cut = measured(ONE, 4, 100)
    cut.complete = False
    made = files(report([], [cut], interrupted=True))

    assert rows(made["parallel.csv"])[0]["complete"] == "no"
    assert "**Incomplete: interrupted." in made["report.md"].decode()
    assert "one, 4 concurrent, 10 tokens: incomplete" in made["report.md"].decode()
    page = Page(made["index.html"]).text
    assert "Incomplete: interrupted." in page
    assert "no level of parallel requests was completed" in page


def test_a_markdown_table_has_as_many_cells_in_every_row() -> None:
    tables: list[set[int]] = [set()]
    for line in markdown(BOTH).splitlines():
        if not line.startswith("|"):
            tables.append(set())
        else:
            tables[-1].add(line.count("|") - line.count(r"\|"))

    widths = [found for found in tables if found]
    assert len(widths) == 4
    assert all(len(found) == 1 for found in widths)


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    page = Page(files(BOTH)["index.html"])

    assert page.open == []
    assert page.links == []
    assert page.tags.count("table") == 4
    assert "b" not in page.tags  # The model's name has one in it.
    assert "Benchmark of m|<b>" in page.text
    for fact in ("http://one/v1", "enginix 0.1.0", "a processor, 2 logical cores", "2026-01-02T03"):
        assert fact in page.text


def test_a_report_without_a_level_says_that_it_was_not_measured() -> None:
    assert markdown(report([measured(ONE, 1, 50)])).count("Not measured.") == 1


def test_pictures_are_in_the_page_itself_and_beside_the_markdown() -> None:
    pytest.importorskip("matplotlib")
    made = files(report(BOTH.single, BOTH.parallel, plots=True))

    assert made["parallel.png"].startswith(b"\x89PNG")
    assert made["single_stream.png"].startswith(b"\x89PNG")
    assert "](single_stream.png)" in made["report.md"].decode()
    page = Page(made["index.html"])
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"] * 2
    assert page.open == []


def test_answers_of_one_token_have_no_curve_of_times_per_token() -> None:
    pytest.importorskip("matplotlib")
    one_token = [measured(ONE, 4, 50, tokens=1)]

    assert files(report(one_token, one_token, plots=True))["parallel.png"]


def test_a_picture_of_failures_alone_is_not_drawn() -> None:
    failed = measured(ONE, 1, 50)
    failed.runs = [run for run in failed.runs if not run.answers.clear()]
    failed.runs[0].answers.append(answer(0, "HTTP 500: no"))

    assert "parallel.png" not in files(report([failed], [failed], plots=True))
