"""Servers start in order, end together, and their last words are heard."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enginix.errors import ProcessError, StartFailed
from enginix.process import descendants
from enginix.serve.child import ChildSpec, State
from enginix.serve.supervisor import supervised

FOREVER = "import signal; open(r'{mark}', 'w').close(); signal.pause()"


def server(directory: Path, name: str, code: str = FOREVER, deadline: float = 20) -> ChildSpec:
    """A program that is ready once it has made its mark, a file."""
    mark = directory / f"{name}.ready"
    return ChildSpec(
        name=name,
        argv=[sys.executable, "-c", code.format(mark=mark)],
        log=directory / f"{name}.log",
        is_ready=file_exists(mark),
        deadline=deadline,
    )


def file_exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return path.exists()

    return check


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_each_server_starts_after_the_one_before_is_ready(tmp_path: Path) -> None:
    ready: list[str] = []
    specs = [server(tmp_path, "first"), server(tmp_path, "second")]
    async with supervised(specs, lambda spec: ready.append(spec.name)):
        assert ready == ["first", "second"]


async def test_all_servers_are_gone_after_the_block(tmp_path: Path) -> None:
    specs = [server(tmp_path, "first"), server(tmp_path, "second")]
    async with supervised(specs, lambda _: None) as supervisor:
        pids = [child.pid or 0 for child in supervisor.children]
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)


async def test_a_server_that_ends_early_is_quoted(tmp_path: Path) -> None:
    code = "print('no such engine'); raise SystemExit(3)"
    with pytest.raises(StartFailed, match=r"first exited with status 3(.|\n)*no such engine"):
        async with supervised([server(tmp_path, "first", code)], lambda _: None):
            pass


async def test_a_failed_start_ends_those_already_running(tmp_path: Path) -> None:
    specs = [server(tmp_path, "first"), server(tmp_path, "second", "raise SystemExit(1)")]
    seen: list[str] = []
    before = descendants(os.getpid())
    with pytest.raises(StartFailed, match="second"):
        async with supervised(specs, lambda spec: seen.append(spec.name)):
            pass
    assert seen == ["first"]
    assert set(descendants(os.getpid())) <= set(before)


async def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    spec = server(tmp_path, "first", "import signal; signal.pause()", deadline=0.3)
    with pytest.raises(StartFailed, match=r"not ready within 0\.3 s; it said nothing"):
        async with supervised([spec], lambda _: None):
            pass


async def test_a_server_that_dies_later_ends_the_watch(tmp_path: Path) -> None:
    async with supervised([server(tmp_path, "first")], lambda _: None) as supervisor:
        (child,) = supervisor.children
        os.kill(child.pid or 0, 9)
        with pytest.raises(ProcessError, match="first was killed by SIGKILL"):
            await supervisor.watch()
        assert child.state is State.ERROR
