"""What waits for a processor is told apart from what is idle, frozen or at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from enginix.process import processor_seconds
from enginix.serve.processor_waits import ProcessorWaits
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel does not count waits"
)

SPIN = "while True: pass"
IDLE = "import signal; signal.pause()"


@contextmanager
def running(program: str, policy: int = os.SCHED_OTHER) -> Iterator[int]:
    """On the same processor as all others."""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        os.sched_setscheduler(process.pid, policy, os.sched_param(0))
        try:
            yield process.pid
        finally:
            process.kill()


async def test_a_process_that_others_leave_no_processor_waits_most_of_the_time() -> None:
    waits = ProcessorWaits()
    with running(SPIN, os.SCHED_IDLE) as starved, ExitStack() as others:
        for _ in range(2):
            others.enter_context(running(SPIN))
        before, worked = waits.seconds([starved]), processor_seconds(starved)
        await until(lambda: waits.seconds([starved]) - before > 1.0)
        assert processor_seconds(starved) - worked < 0.3


async def test_a_process_that_is_idle_or_frozen_does_not_wait() -> None:
    waits = ProcessorWaits()
    with running(IDLE) as idle, running(SPIN) as frozen, running(SPIN) as busy:
        os.kill(frozen, signal.SIGSTOP)
        before = waits.seconds([idle, frozen])
        worked = processor_seconds(busy)
        await until(lambda: processor_seconds(busy) - worked > 0.5)
        assert waits.seconds([idle, frozen]) - before < 0.1


def test_a_process_that_has_ended_waits_no_more() -> None:
    waits = ProcessorWaits()
    with running(SPIN, os.SCHED_IDLE) as pid:
        before = waits.seconds([pid, os.getpid()])
    assert before <= waits.seconds([pid, os.getpid()]) < before + 1.0
