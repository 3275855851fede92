"""Children are ended with all their descendants, and failures say what happened."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from enginix.errors import PortTaken, ProcessError
from enginix.ports import require_port_free
from enginix.process import (
    ancestors,
    descendants,
    describe_exit,
    find_program,
    run,
    started,
)
from tests.conftest import is_running

# Starts a grandchild that ignores SIGTERM, says both process ids and waits.
STUBBORN_FAMILY = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (grandchild := os.fork()) == 0:
    os.setsid()
    signal.pause()
print(grandchild, flush=True)
signal.pause()
"""


async def test_a_stubborn_grandchild_in_its_own_session_is_ended_too() -> None:
    argv = [sys.executable, "-c", STUBBORN_FAMILY]
    async with started(argv, stdout=subprocess.PIPE, grace=0.2) as child:
        assert child.stdout is not None
        grandchild = int(await child.stdout.readline())
        assert grandchild in descendants(child.pid)
    assert not is_running(grandchild)
    assert child.returncode == -signal.SIGKILL


async def test_a_willing_child_may_say_goodbye() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    async with started([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        await child.stdout.readline()
    assert child.returncode == 7


async def test_a_child_dies_with_a_killed_parent() -> None:
    code = (
        "import asyncio\n"
        "from enginix.process import started\n"
        "async def main():\n"
        "    async with started(['sleep', '1000']) as child:\n"
        "        print(child.pid, flush=True)\n"
        "        await child.wait()\n"
        "asyncio.run(main())"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    descriptor = os.pidfd_open(child) if is_running(child) else None
    if descriptor is not None:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, gone.set)
        await asyncio.wait_for(gone.wait(), 5)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
    assert not is_running(child)


# Can handle a hangup only once it has been told to go on.
SLOW_TO_LISTEN = """
import signal
input()
signal.signal(signal.SIGHUP, lambda *_: print("heard", flush=True))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
"""


async def test_a_held_signal_waits_until_the_program_can_handle_it() -> None:
    argv = [sys.executable, "-c", SLOW_TO_LISTEN]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    async with started(argv, **pipes, held=[signal.SIGHUP]) as child:
        child.send_signal(signal.SIGHUP)
        output, _ = await child.communicate(b"go on\n")
    assert (child.returncode, output) == (0, b"heard\n")


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProcessError, match="cannot start 'no-such-program'"):
        async with started(["no-such-program"]):
            pass


def test_a_failed_command_shows_its_last_lines() -> None:
    with pytest.raises(ProcessError, match=r"exited with status 3:\nit broke"):
        run([sys.executable, "-c", "print('it broke'); raise SystemExit(3)"])


def test_a_command_returns_its_output() -> None:
    assert run(["echo", "hello"]) == "hello\n"


def test_a_command_that_hangs_is_given_up() -> None:
    with pytest.raises(ProcessError, match=r"did not finish within 0\.1 s"):
        run(["sleep", "1000"], timeout=0.1)


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exited with status 0"), (-9, "was killed by SIGKILL")]
)
def test_an_exit_is_described(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_a_taken_port_names_its_holder() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(
            PortTaken, match=rf"port {port} is taken by .*pid {os.getpid()}.*--port"
        ):
            require_port_free("127.0.0.1", port, "--port")


def test_a_free_port_passes() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    require_port_free("127.0.0.1", port, "--port")


def test_a_program_that_is_not_installed_is_none() -> None:
    assert find_program("no-such-program") is None


def test_the_ancestors_of_a_process_begin_with_its_parent() -> None:
    assert ancestors(os.getpid())[0] == os.getppid()
    assert ancestors(0) == []
