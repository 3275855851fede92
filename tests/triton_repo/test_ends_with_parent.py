"""What a model's process starts does not outlive it, whatever it is doing."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from subprocess import PIPE

import pytest

from tests.triton_repo.conftest import MODEL

# Starts the trial, says its process id, and waits to be killed.
TRIAL = """
import os, subprocess, sys, signal
command = [sys.executable, "guide_trial.py", "1000000000", "10", str(os.getpid())]
trial = subprocess.Popen(command)
print(trial.pid, flush=True)
signal.pause()
"""

# Its child says its own process id and then keeps Python's lock, as Triton's stub does while it
# waits for Triton.
LOCKED = """
import os, signal
parent = os.getpid()
if os.fork() == 0:
    import ctypes
    from parent import end_with_parent
    end_with_parent(parent)
    print(os.getpid(), flush=True)
    ctypes.PyDLL(None).sleep(100)
signal.pause()
"""


@pytest.mark.parametrize("program", [TRIAL, LOCKED], ids=["trial of guides", "lock of Python held"])
def test_a_process_ends_with_the_parent_that_was_killed(program: str) -> None:
    # Its input does not end: we hold the other side, as a guide that is compiled for ever would.
    ours, its = os.pipe()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=MODEL, stdin=ours, stdout=PIPE) as parent:
        os.close(ours)
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([child], [], [], 10)
    os.close(its)
    os.close(child)
    assert ended


def test_a_process_that_ends_by_itself_leaves_no_watcher() -> None:
    # Who watches holds the output: reading it ends when all have ended.
    program = "import os; from parent import end_with_parent; end_with_parent(os.getppid())"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=MODEL, stdout=PIPE, timeout=10).returncode == 0


def test_every_model_has_the_same_parent_module() -> None:
    # Links, not copies: a copy would miss the next fix.
    assert len({path.resolve() for path in MODEL.parents[2].glob("*/*/1/parent.py")}) == 1
