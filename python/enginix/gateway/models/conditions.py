"""The metrics that are found when they are read: what generates, how servers fare, the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics_core import Metric

from enginix.supervision import ServerStatus

SERVER_STATES = ("idle", "loading", "loaded", "error")


class Condition(NamedTuple):
    """Of one model, when the metrics are read."""

    model: str
    generates: bool | None
    """Whether tokens come out; None for a model that is not loaded."""
    server: ServerStatus | None
    """What the supervisor knows of its server."""


def condition_families(conditions: Iterable[Condition]) -> list[Metric]:
    healthy = Metric("enginix_model_healthy", "Whether tokens come out of a loaded model", "gauge")
    state = Metric("enginix_server_state", "1 for the state that a model's server is in", "gauge")
    restarts = Metric(
        "enginix_server_restarts", "Servers started again after they ended", "counter"
    )
    for model, generates, server in conditions:
        labels = {"model": model}
        if generates is not None:
            healthy.add_sample(healthy.name, labels, float(generates))
        if server is None or server.status not in SERVER_STATES:
            continue
        restarts.add_sample(f"{restarts.name}_total", labels, server.restarts)
        for each in SERVER_STATES:
            state.add_sample(state.name, {**labels, "state": each}, float(each == server.status))
    return [family for family in (healthy, state, restarts) if family.samples]


def disk_families(home: Path) -> Iterator[Metric]:
    """Of the file system that `home` is on, or will be once it is made."""
    try:
        there = next(path for path in (home, *home.parents) if path.exists())
        usage = shutil.disk_usage(there)
    except (OSError, StopIteration):
        return
    for name, text, value in (
        ("free", "Bytes left where enginix keeps its files", usage.free),
        ("size", "Bytes of that file system", usage.total),
    ):
        family = Metric(f"enginix_disk_{name}_bytes", text, "gauge")
        family.add_sample(family.name, {}, value)
        yield family
