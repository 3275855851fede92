"""What a soak leaves behind: two tables on the screen, JSON, and plots where matplotlib is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.soaking.judgement import SLACK, Ended, series, trend
from benchmarks.soaking.load import Record
from benchmarks.soaking.processes import Sample

PLOTTED = {"rss_mb": "memory, MB", "descriptors": "descriptors", "threads": "threads"}


def tables(record: Record) -> str:
    return "\n".join([*_requests(record.requests), "", *_processes(record)])


def _requests(requests: Sequence[Ended]) -> list[str]:
    lines = [f"{'requests':18} {'of them right':>14} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"]
    kinds: dict[str, list[Ended]] = defaultdict(list)
    for each in requests:
        kinds[each.kind].append(each)
    for kind, ended in kinds.items():
        times = sorted((each.at - each.began) * 1e3 for each in ended)
        right = sum(each.wrong is None for each in ended)
        p50, p99 = (times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
        count = f"{right} / {len(ended)}"
        lines.append(f"{kind:18} {count:>14} {p50:8.1f} {p99:8.1f} {times[-1]:8.1f}")
    return lines


def _processes(record: Record) -> list[str]:
    lines = [
        f"{'process':28} {'pid':>7} {'RSS MB':>15} {'a minute':>9} {'PSS MB':>7} "
        f"{'descriptors':>12} {'threads':>10}"
    ]
    for (role, pid), rows in series(record.samples, record.began, record.ended).items():
        first, last = rows[0], rows[-1]
        slope = trend([(row.at, row.rss_mb) for row in rows]).slope * 60
        lines.append(
            f"{role:28} {pid:7} {first.rss_mb:7.1f}{last.rss_mb:8.1f} {slope:+9.2f} "
            f"{last.pss_mb:7.1f} {first.descriptors:6}{last.descriptors:6} "
            f"{first.threads:5}{last.threads:5}"
        )
    return lines


def write_json(record: Record, findings: Sequence[str], path: Path) -> None:
    data: dict[str, Any] = {
        "seconds": record.ended - record.began,
        "findings": list(findings),
        "restarts": record.restarts,
        "requests": [asdict(each) for each in record.requests],
        "samples": [asdict(each) for each in record.samples],
        "health": [
            {"at": each.at, "well": None if each.well is None else sorted(each.well)}
            for each in record.health
        ],
    }
    path.write_text(json.dumps(data) + "\n", encoding="utf-8")


def draw(record: Record, path: Path) -> bool:
    """Every process over time; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    processes: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for each in record.samples:
        processes[each.role, each.pid].append(each)
    figure = Figure(figsize=(10, 12), layout="constrained")
    assert PLOTTED.keys() == SLACK.keys()
    for axes, (measure, label) in zip(figure.subplots(3, 1), PLOTTED.items(), strict=True):
        for (role, _), rows in processes.items():
            if len(rows) > len(record.health) // 10:
                times = [(row.at - record.began) / 60 for row in rows]
                axes.plot(times, [getattr(row, measure) for row in rows], label=role)
        axes.set_ylabel(label)
        axes.set_xlabel("minutes")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small", ncols=2)
    figure.savefig(path)
    return True
