"""`enginix openai --models FILE` takes up a changed file, in each of its worker processes."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_ports, logged_program
from tests.end_to_end.gateway_process import RunningGateway, models_gateway

STAND_IN = Path(__file__).parents[1] / "fakes" / "wedged_server.py"
CHAT = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
PATIENCE = 60.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    (port,) = free_ports(1)
    with logged_program([sys.executable, str(STAND_IN), str(port)], "listening"):
        yield f"http://127.0.0.1:{port}"


def write(file: Path, url: str, *names: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"models": [{"name": name, "url": url} for name in names]}))
    new.replace(file)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


@contextmanager
def serving(file: Path, *flags: str) -> Iterator[tuple[RunningGateway, Callable[[str], object]]]:
    """The gateway, and what one of its processes says."""
    with models_gateway(file, *flags) as running:
        yield running, lambda path: httpx.get(f"{running.url}/v1/{path}", timeout=PATIENCE).json()


def test_each_process_takes_it_up_on_sighup_and_streams_go_on(tmp_path: Path, url: str) -> None:
    file = tmp_path / "models.json"
    write(file, url, "a", "b")

    def everywhere(path: str, seen: Callable[[object], bool]) -> bool:
        # New connections, so that both processes are asked.
        return all(seen(says(path)) for _ in range(8))

    def names(models: object) -> list[str]:
        assert isinstance(models, dict)
        return [model["id"] for model in models["data"]]

    def error(status: object) -> str:
        assert isinstance(status, dict)
        return status["configuration"]["error"] or ""

    with serving(file, "--workers=2") as (running, says):
        until(lambda: everywhere("models", lambda models: names(models) == ["a", "b"]))
        body = {"model": "a", "stream": True, "max_tokens": 100_000, **CHAT}
        with httpx.stream("POST", f"{running.base_url}/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            write(file, url, "c", "a")
            running.process.send_signal(signal.SIGHUP)
            until(lambda: everywhere("models", lambda models: names(models) == ["c", "a"]))
            file.write_text('{"models": [')
            running.process.send_signal(signal.SIGHUP)
            until(lambda: everywhere("status", lambda status: "cannot be read" in error(status)))
            assert everywhere("models", lambda models: names(models) == ["c", "a"])
            for _ in range(100):
                assert "error" not in next(lines)


def test_a_watched_file_needs_no_signal(tmp_path: Path, url: str) -> None:
    file = tmp_path / "models.json"
    write(file, url, "a")
    with serving(file, "--watch") as (_, says):
        write(file, url, "a", "b")
        until(lambda: len(says("models")["data"]) == 2)  # type: ignore[index]
        file.unlink()
        until(lambda: "No such file" in (says("status")["configuration"]["error"] or ""))  # type: ignore[index]
