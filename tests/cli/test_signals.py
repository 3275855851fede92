"""SIGHUP asks a command to do something, unless its terminal is gone or it is to be ignored."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from cli.terminal import terminal

from enginix.process import descendants
from tests.conftest import is_running
from tests.waiting import until

PROGRAM = """
import asyncio, sys
from pathlib import Path
from enginix.cli.signals import hangup_is_ignored, run_until_signalled

log = Path(sys.argv[1]).open("a", buffering=1)

async def work():
    try:
        log.write(f"begins, ignored: {hangup_is_ignored()}\\n")
        await asyncio.sleep(60)
    finally:
        log.write("cleaned up\\n")

signalled = run_until_signalled(work(), lambda: log.write("asked\\n"))
log.write(f"signalled: {signalled}\\n")
"""


# Its child ignores SIGTERM for longer than a test waits.
STUBBORN = """
import asyncio, sys
from pathlib import Path
from enginix.cli.signals import run_until_signalled
from enginix.process import started

log = Path(sys.argv[1]).open("a", buffering=1)

async def work():
    try:
        async with started(["sh", "-c", "trap '' TERM; sleep 300"], grace=200):
            log.write("begins\\n")
            await asyncio.sleep(60)
    finally:
        log.write("cleaned up\\n")

signalled = run_until_signalled(work())
log.write(f"signalled: {signalled}\\n")
"""


async def test_a_second_signal_kills_what_the_first_waits_for_and_still_cleans_up(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STUBBORN, str(log))
    await until(lambda: "begins" in log.read_text())
    family = descendants(process.pid)
    process.terminate()
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    assert log.read_text().splitlines()[1:] == ["cleaned up", "signalled: True"]
    assert family
    assert not [pid for pid in family if is_running(pid)]


async def test_a_hangup_asks_while_the_terminal_is_there_and_ends_all_when_it_closes(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()
    async with terminal([sys.executable, "-c", PROGRAM, str(log)], os.environ, tmp_path) as shown:
        await until(lambda: "begins" in log.read_text())
        os.kill(shown.process.pid, signal.SIGHUP)
        await until(lambda: "asked" in log.read_text())
        shown.hang_up()
        await until(lambda: "signalled" in log.read_text())
    assert log.read_text().splitlines()[1:] == ["asked", "cleaned up", "signalled: True"]


def test_under_nohup_it_stays_ignored_and_the_command_can_say_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["nohup", sys.executable, "-c", PROGRAM, str(log)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (log.exists() and "begins, ignored: True\n" in log.read_text()):
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(30) == 0
    assert log.read_text().splitlines()[1:] == ["cleaned up", "signalled: True"]
