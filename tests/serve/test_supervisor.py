"""Servers start in order, end together, and a failed one is quoted from its log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enginix.errors import StartFailed
from enginix.process import descendants
from enginix.serve.backoff import Backoff
from enginix.serve.restart import RestartingServer
from enginix.serve.server_process import ServerSpec, State
from enginix.serve.supervisor import supervised
from tests.conftest import is_running

FOREVER = "import signal; open(r'{mark}', 'w').close(); signal.pause()"


def restarting_server(
    directory: Path, name: str, code: str = FOREVER, deadline: float = 20
) -> RestartingServer:
    """A program that is ready once it has made its mark, a file."""
    mark = directory / f"{name}.ready"
    return RestartingServer(
        ServerSpec(
            name=name,
            argv=[sys.executable, "-c", code.format(mark=mark)],
            log=directory / f"{name}.log",
            is_ready=file_exists(mark),
            deadline=deadline,
        )
    )


def file_exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return path.exists()

    return check


async def changed(server: RestartingServer, pid: int | None) -> None:
    """Until it has another process and serves."""
    async with asyncio.timeout(20):
        while server.process.pid in (None, pid) or server.process.state is not State.LOADED:
            await server.process.change.wait()


async def test_each_server_starts_after_the_one_before_is_ready(tmp_path: Path) -> None:
    ready: list[str] = []
    servers = [restarting_server(tmp_path, "first"), restarting_server(tmp_path, "second")]
    async with supervised(servers, lambda server, _: ready.append(server.name)):
        assert ready == ["first", "second"]


async def test_all_servers_are_gone_after_the_block(tmp_path: Path) -> None:
    servers = [restarting_server(tmp_path, "first"), restarting_server(tmp_path, "second")]
    async with supervised(servers, lambda *_: None):
        pids = [server.process.pid or 0 for server in servers]
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)


async def test_a_server_that_ends_early_is_quoted(tmp_path: Path) -> None:
    code = "print('no such engine'); raise SystemExit(3)"
    with pytest.raises(StartFailed, match=r"first exited with status 3(.|\n)*no such engine"):
        async with supervised([restarting_server(tmp_path, "first", code)], lambda *_: None):
            pass


async def test_a_failed_start_ends_those_already_running(tmp_path: Path) -> None:
    servers = [
        restarting_server(tmp_path, "first"),
        restarting_server(tmp_path, "second", "raise SystemExit(1)"),
    ]
    seen: list[tuple[str, bool]] = []
    before = descendants(os.getpid())
    with pytest.raises(StartFailed, match="second"):
        async with supervised(
            servers, lambda server, failure: seen.append((server.name, failure is None))
        ):
            pass
    assert seen == [("first", True), ("second", False)]
    assert set(descendants(os.getpid())) <= set(before)


async def test_an_optional_server_that_fails_does_not_keep_the_others_from_serving(
    tmp_path: Path,
) -> None:
    servers = [
        restarting_server(tmp_path, "broken", "raise SystemExit(1)"),
        restarting_server(tmp_path, "sound"),
    ]
    async with supervised(servers, lambda *_: None, optional=frozenset({"broken"})):
        assert servers[1].process.state is State.LOADED
        assert "status 1" in (servers[0].process.error or "")


async def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    server = restarting_server(tmp_path, "first", "import signal; signal.pause()", deadline=0.3)
    with pytest.raises(StartFailed, match=r"not ready within 0\.3 s; it logged nothing"):
        async with supervised([server], lambda *_: None):
            pass


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = ServerSpec("none", ["/no/such/program"], tmp_path / "log", file_exists(tmp_path))
    with pytest.raises(StartFailed, match="cannot start '/no/such/program'"):
        async with supervised([RestartingServer(spec)], lambda *_: None):
            pass


async def test_a_server_whose_log_cannot_be_written_says_so_and_is_tried_again(
    tmp_path: Path,
) -> None:
    server = restarting_server(tmp_path, "first")
    log = server.process.spec.log
    log.mkdir()
    with pytest.raises(
        StartFailed, match=r"its log .*first\.log cannot be written: Is a directory"
    ):
        await server.load()
    assert server.process.log.last_lines(1) == []
    log.rmdir()
    async with supervised([server], lambda *_: None):
        assert server.process.state is State.LOADED


async def test_a_program_that_the_system_cannot_start_now_is_a_failed_start(
    tmp_path: Path,
) -> None:
    # As without processes or memory.
    program = [sys.executable, "-c", "pass", "x" * 300_000]
    spec = ServerSpec("none", program, tmp_path / "log", file_exists(tmp_path))
    with pytest.raises(StartFailed, match=r"cannot start .*: Argument list too long"):
        async with supervised([RestartingServer(spec)], lambda *_: None):
            pass


async def test_a_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    server = restarting_server(tmp_path, "first")
    async with supervised([server], lambda *_: None):
        pid = server.process.pid or 0
        os.kill(pid, 9)
        await changed(server, pid)
        assert server.restarts == 1
        assert "first was killed by SIGKILL" in (server.process.error or "")


async def test_what_a_killed_server_leaves_behind_is_gone_before_the_next_start(
    tmp_path: Path,
) -> None:
    code = "import os, signal; os.fork(); open(r'{mark}', 'w').close(); signal.pause()"
    server = restarting_server(tmp_path, "first", code)
    async with supervised([server], lambda *_: None):
        pid = server.process.pid or 0
        (orphan,) = descendants(pid)
        os.kill(pid, 9)
        await changed(server, pid)
        assert not is_running(orphan)


async def test_an_unloaded_server_is_gone_and_can_be_loaded_again(tmp_path: Path) -> None:
    server = restarting_server(tmp_path, "first")
    async with supervised([server], lambda *_: None):
        pid = server.process.pid or 0
        await server.unload()
        assert (server.process.state, server.process.pid) == (State.IDLE, None)
        assert not is_running(pid)
        await server.load()
        assert server.process.state is State.LOADED
        assert server.restarts == 0


async def test_an_unload_is_not_lost_whatever_the_end_of_its_server_has_come_to(
    tmp_path: Path,
) -> None:
    server = restarting_server(tmp_path, "first")
    for steps in range(8):
        await server.load()
        assert server.process.pid is not None
        os.kill(server.process.pid, signal.SIGKILL)
        while server.process.alive:  # noqa: ASYNC110, its change of state comes later
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await server.unload()
        assert server.state is State.IDLE


async def test_a_server_that_waits_for_its_next_start_is_started_when_somebody_asks(
    tmp_path: Path,
) -> None:
    code = "import os, signal; assert os.path.exists(r'{mark}.may'); " + FOREVER
    server = restarting_server(tmp_path, "first", code)
    server._backoff = Backoff(first=3600, most=3600)
    try:
        with pytest.raises(StartFailed, match="AssertionError"):
            await server.load()
        while server.restarts < 1 or server.process.state is not State.ERROR:
            await server.process.change.wait()
        (tmp_path / "first.ready.may").touch()
        await server.load()
        assert server.process.state is State.LOADED
    finally:
        await server.unload()


async def test_loading_what_is_loaded_changes_nothing(tmp_path: Path) -> None:
    server = restarting_server(tmp_path, "first")
    async with supervised([server], lambda *_: None):
        pid = server.process.pid
        await asyncio.gather(server.load(), server.load())
        assert server.process.pid == pid


async def test_unloading_in_the_middle_of_a_load_leaves_nothing(tmp_path: Path) -> None:
    server = restarting_server(tmp_path, "first", "import signal; signal.pause()")
    loading = asyncio.create_task(server.load())
    await server.process.change.wait()
    before = set(descendants(os.getpid()))
    await server.unload()
    with pytest.raises(StartFailed, match="unloaded before it was ready"):
        await loading
    assert not set(descendants(os.getpid())) - before
    assert server.process.state is State.IDLE
