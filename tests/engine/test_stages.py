"""Stages report their start, progress and end; a failed one reports no end."""

from __future__ import annotations

import pytest

from enginix.engine.stages import (
    StageEvent,
    StageFinished,
    StageProgress,
    Stages,
    StageStarted,
    forget_peak_memory,
    peak_memory,
)
from enginix.errors import BuildError


def test_a_stage_starts_progresses_and_ends_with_its_summary() -> None:
    events: list[StageEvent] = []

    with Stages(events.append).run("repack") as stage:
        stage.progress(0.5)
        stage.summary = "done"

    started, progress, finished = events
    assert started == StageStarted("repack")
    assert progress == StageProgress("repack", 0.5)
    assert isinstance(finished, StageFinished)
    assert (finished.name, finished.summary) == ("repack", "done")
    assert finished.seconds >= 0


def test_a_stage_that_raises_does_not_end() -> None:
    events: list[StageEvent] = []

    def fail() -> None:
        with Stages(events.append).run("repack"):
            raise BuildError

    with pytest.raises(BuildError):
        fail()
    assert events == [StageStarted("repack")]


def test_the_memory_of_a_stage_is_its_peak() -> None:
    events: list[StageEvent] = []
    stages = Stages(events.append)

    with stages.run("large"):
        bytearray(200_000_000)
    with stages.run("small"):
        pass

    large, small = (event for event in events if isinstance(event, StageFinished))
    assert large.peak_memory - small.peak_memory > 150_000_000


def test_a_stage_done_by_children_has_their_memory() -> None:
    events: list[StageEvent] = []

    with Stages(events.append).run("build") as stage:
        stage.children_memory = 10**15

    assert isinstance(events[-1], StageFinished)
    assert events[-1].peak_memory == 10**15


def test_peak_memory_can_be_reset() -> None:
    bytearray(200_000_000)
    before = peak_memory()

    forget_peak_memory()

    assert before - peak_memory() > 150_000_000
