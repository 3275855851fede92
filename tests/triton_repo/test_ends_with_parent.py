"""What a model's process starts does not outlive it, whatever it is doing."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from subprocess import PIPE

from tests.triton_repo.conftest import MODEL

# Starts the trial, says its process id, and waits to be killed.
PARENT = """
import os, subprocess, sys, signal
command = [sys.executable, sys.argv[1], "1000000000", "10", str(os.getpid())]
trial = subprocess.Popen(command)
print(trial.pid, flush=True)
signal.pause()
"""


def test_a_trial_of_guides_ends_with_the_model_that_has_started_it() -> None:
    # Its input does not end: we hold the other side, as a guide that is compiled for ever would.
    ours, its = os.pipe()
    command = [sys.executable, "-c", PARENT, str(MODEL / "guide_trial.py")]
    with subprocess.Popen(command, stdin=ours, stdout=PIPE) as parent:
        os.close(ours)
        assert parent.stdout is not None
        trial = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([trial], [], [], 10)
    os.close(its)
    os.close(trial)
    assert ended
