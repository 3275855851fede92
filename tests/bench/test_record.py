"""A benchmark's file is read back, compared and plotted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enginix.bench import record
from enginix.bench.compare import compared
from enginix.bench.plot import plot
from enginix.bench.record import Record
from enginix.bench.summary import Spread, Summary
from enginix.errors import UsageError

LEVEL = Summary(
    concurrency=8,
    rate=None,
    ok=80,
    failed=1,
    errors={"HTTP 503: loading": 1},
    given_up=False,
    seconds=4.0,
    prompt_tokens=128.0,
    output_tokens=8000,
    events=8000,
    counted_by_server=True,
    first_token=Spread(11, 10, 20, 30),
    between_events=Spread(2, 2, 3, 4),
    per_token=Spread(2, 2, 2, 3),
    end_to_end=Spread(200, 200, 300, 400),
    output_tokens_per_second=2000.0,
    requests_per_second=20.0,
    client_cpu=0.1,
)
FAILED = replace(
    LEVEL, ok=0, first_token=None, between_events=None, per_token=None, end_to_end=None
)


def made(*levels: Summary) -> Record:
    return Record("http://h/v1", "demo", "2026-01-02T03:04:05+00:00", {"max_tokens": 100}, levels)


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(record.to_json(made(LEVEL, FAILED)))

    assert record.read(path) == replace(made(), levels=[LEVEL, FAILED])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "levels": [{}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"a\.json"):
        record.read(path)


def test_ratios_divide_the_second_by_the_first() -> None:
    faster = replace(LEVEL, output_tokens_per_second=5000.0, first_token=Spread(5, 4, 10, 15))
    ratios = compared(made(LEVEL), made(faster))["8"]

    times = {ratio.name: ratio.times for ratio in ratios}
    assert times["output tokens/s"] == 2.5
    assert (times["first token p50"], times["first token p99"]) == (0.4, 0.5)
    assert times["requests/s"] == 1


def test_only_levels_of_both_are_compared() -> None:
    more = replace(LEVEL, concurrency=32)

    assert list(compared(made(LEVEL, more), made(more))) == ["32"]
    with pytest.raises(UsageError, match="no level in common: 8 and 32"):
        compared(made(LEVEL), made(more))


def test_a_value_missing_from_one_has_no_ratio() -> None:
    names = {ratio.name for ratio in compared(made(LEVEL), made(FAILED))["8"]}

    assert names == {"output tokens/s", "requests/s"}


def test_a_sweep_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "sweep.png"

    plot([LEVEL, replace(LEVEL, concurrency=32), FAILED], "demo", path)

    assert path.read_bytes().startswith(b"\x89PNG")
