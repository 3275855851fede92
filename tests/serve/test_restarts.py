"""A server that is started again finds its port free and nothing of the one before."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from enginix import ports
from enginix.errors import ProcessError, StartFailed
from enginix.marked import end_marked, marked
from enginix.ports import until_free
from enginix.serve import server_process
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import MARK, ServerSpec, State
from tests.conftest import free_ports, is_running

HOST = "127.0.0.1"

# A server whose port a process of its own holds, in a session of its own: as a tritonserver below
# `enginix triton`. That process ignores SIGTERM, and outlives the one that has started it.
SERVER = """
import os, signal, socket, sys
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    with open(sys.argv[2], "w") as ready:
        ready.write(str(os.getpid()))
signal.pause()
"""


def restarting_server(directory: Path, port: int, mark: str) -> RestartingServer:
    ready = directory / "ready"

    async def is_ready() -> bool:
        return ready.exists() and ready.read_text() != ""

    argv = [sys.executable, "-c", SERVER, str(port), str(ready)]
    env = {**os.environ, MARK: mark}
    return RestartingServer(
        ServerSpec("server", argv, directory / "log", is_ready, env=env, ports=[port])
    )


async def test_what_a_killed_server_leaves_running_is_gone_before_the_next_start(
    tmp_path: Path,
) -> None:
    (port,) = free_ports(1)
    server = restarting_server(tmp_path, port, "restarts")
    await server.load()
    try:
        first, holder = server.process.pid, int((tmp_path / "ready").read_text())
        (tmp_path / "ready").unlink()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while server.process.pid in (None, first) or server.process.state is not State.LOADED:
                await server.process.change.wait()
        assert server.restarts == 1
        assert not is_running(holder)
    finally:
        await server.unload()
    assert not marked(MARK, "restarts")


async def test_an_unloaded_server_leaves_nothing_running_that_had_left_it(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = restarting_server(tmp_path, port, "unloads")
    await server.load()
    holder = int((tmp_path / "ready").read_text())
    await server.unload()
    assert not is_running(holder)


async def test_a_server_that_becomes_ready_while_it_is_unloaded_is_unloaded(tmp_path: Path) -> None:
    unloading: asyncio.Task[None] | None = None

    async def is_ready() -> bool:
        nonlocal unloading
        # It runs before the one that waits for this answer continues.
        unloading = asyncio.create_task(server.unload())
        return True

    argv = [sys.executable, "-c", "import signal; signal.pause()"]
    server = RestartingServer(ServerSpec("server", argv, tmp_path / "log", is_ready))
    async with asyncio.timeout(20):
        await asyncio.gather(server.load(), return_exceptions=True)
        assert unloading is not None
        await unloading
    assert server.state is State.IDLE
    assert not server.process.alive


class Waiting(logging.Handler):
    """Sets its event at the first line, which it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()
        self.line = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.line = record.getMessage()
        self.event.set()


async def test_a_start_waits_for_the_port_and_says_so(tmp_path: Path) -> None:
    waiting = Waiting()
    ports.logger.addHandler(waiting)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        server = restarting_server(tmp_path, port, "waits")
        loading = asyncio.create_task(server.load())
        await asyncio.wait_for(waiting.event.wait(), 10)
    ports.logger.removeHandler(waiting)
    await loading
    await server.unload()
    assert waiting.line.startswith(f"port {port} is taken by")
    assert waiting.line.endswith(f"(pid {os.getpid()}); waiting up to 15 s for it")


async def test_a_port_that_stays_taken_is_a_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "PORT_SECONDS", 0.2)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        server = restarting_server(tmp_path, port, "fails")
        with pytest.raises(StartFailed, match=rf"not started: port {port} is still in use by"):
            await server.load(persistent=False)
    await server.unload()


async def test_waiting_for_a_port_is_bounded() -> None:
    taken = pytest.raises(ProcessError, match=r"still in use by .* after 0\.2 s")
    with socket.create_server((HOST, 0)) as other, taken:
        await until_free(HOST, [other.getsockname()[1]], 0.2)


async def test_only_what_has_the_mark_is_ended() -> None:
    run = asyncio.create_subprocess_exec
    ours = await run("sleep", "1000", env={**os.environ, MARK: "one"})
    other = await run("sleep", "1000", env={**os.environ, MARK: "one-more"})
    try:
        await end_marked(MARK, "one")
        assert await ours.wait() == -signal.SIGKILL
        assert marked(MARK, "one-more") == {other.pid}
    finally:
        other.kill()
        await other.wait()
