"""The watchdog ends its process: each case is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.triton_repo.conftest import MODEL

PROGRAM = """
import ctypes, sys, threading
from watchdog import end_when_stuck
sends = iter({sends})
end = end_when_stuck(lambda now: next(sends, 0.0), {log}, longest=10.0, look=0.01)
{then}
threading.Event().wait({lives})
"""


# A log that never comes back, and keeps Python's lock.
STUCK_LOG = "lambda text: ctypes.PyDLL(None).sleep(60)"


def run(
    sends: list[float], lives: float, then: str = "", log: str = "print"
) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(sends=sends, lives=lives, then=then, log=log)
    command = [sys.executable, "-u", "-c", program]
    return subprocess.run(command, cwd=MODEL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("sends", [[11.0], [0.0, 3.0, 9.9, 10.5]])
def test_a_send_that_never_comes_back_ends_the_process(sends: list[float]) -> None:
    ended = run(sends, 30)
    assert ended.returncode == 1
    assert "not taken within 10 s" in ended.stdout


def test_a_log_that_is_stuck_with_the_send_does_not_keep_the_process() -> None:
    ended = run([11.0], 30, log=STUCK_LOG)
    assert ended.returncode == 1
    assert "watchdog.py" in ended.stderr


def test_slow_sends_end_nothing() -> None:
    assert run([9.0, 0.0, 9.9] * 5, 0.5).returncode == 0


def test_a_watch_that_was_ended_ends_nothing() -> None:
    assert run([0.0] * 10 + [11.0] * 10, 0.5, then="end()").returncode == 0
