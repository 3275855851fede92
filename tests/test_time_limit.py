"""A test that hangs fails, and ends the programs that it has started."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

INI = Path(__file__).with_name("pytest.ini")

HANGS = """
import subprocess
from pathlib import Path
import pytest

@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "1000"])
    Path({pid!r}).write_text(str(child.pid))
    yield child
    child.kill()
    child.wait()

def test_hangs(sleeper):
    sleeper.wait()

def test_next():
    pass
"""


def test_every_test_has_a_time_limit() -> None:
    ini = ConfigParser()
    ini.read(INI)
    assert 60 <= ini.getint("pytest", "timeout") <= 900


def test_a_test_that_hangs_is_failed_and_its_programs_are_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = tmp_path / "test_hanging.py"
    program.write_text(HANGS.format(pid=str(pid)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", INI, program, "-o", "timeout=0.5", "-q"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=60,
    )
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout" in done.stdout
    assert not Path(f"/proc/{pid.read_text()}").exists()
