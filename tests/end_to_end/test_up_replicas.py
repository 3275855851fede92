"""`enginix up demo` with two servers: one is killed, then both are replaced, one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.process import descendants
from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import Running, content, environment, serving

SECONDS = 120


@dataclass(frozen=True)
class Profile:
    running: Running
    env: dict[str, str]

    def status(self) -> dict[str, Any]:
        """Of the model, with its replicas by address, once the supervisor answers in time."""
        deadline = time.monotonic() + SECONDS
        while True:
            (model,) = httpx.get(f"{self.running.url}/v1/status", timeout=30).json()["models"]
            if "pid" in model:
                return {**model, "replicas": {one["address"]: one for one in model["replicas"]}}
            assert time.monotonic() < deadline, self.running.log.text()

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Its replicas once they are as expected; the model is loaded all the time."""
        deadline = time.monotonic() + SECONDS
        while not seen((model := self.status())["replicas"]):
            assert model["status"] == "loaded"
            assert time.monotonic() < deadline, (model, self.running.log.text())
            time.sleep(0.1)
        return dict(model["replicas"])


@pytest.fixture(scope="module")
def profile(
    tmp_path_factory: pytest.TempPathFactory, runtime: Runtime, demo_engine: Path
) -> Iterator[Profile]:
    home = tmp_path_factory.mktemp("h")
    port, http, grpc, metrics = free_ports(4)
    env = {**environment(home, runtime), "ENGINIX_ENGINE": str(demo_engine)}
    settings = ("--set=demo.replicas=2", "--set=demo.options.threads=1")
    ports = (f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}")
    with serving(env, port, "up", "demo", *settings, *ports) as running:
        yield Profile(running, env)


def test_both_servers_are_shown_and_answer(profile: Profile) -> None:
    model = profile.status()
    assert (model["status"], model["restarts"]) == ("loaded", 0)
    assert [one["status"] for one in model["replicas"].values()] == ["loaded", "loaded"]
    assert len({one["pid"] for one in model["replicas"].values()}) == 2
    # They take turns.
    for answer in [profile.running.ask("demo") for _ in range(4)]:
        assert content(answer) == "The capital of France is Paris."


def test_a_server_that_is_killed_is_replaced_while_the_other_serves(profile: Profile) -> None:
    before = profile.status()["replicas"]
    killed, other = before
    family = descendants(before[killed]["pid"])
    os.kill(next(pid for pid in family if is_tritonserver(pid)), signal.SIGKILL)
    after = profile.until(
        lambda replicas: (
            replicas[killed]["restarts"] == 1 and replicas[killed]["status"] == "loaded"
        )
    )
    assert after[killed]["pid"] != before[killed]["pid"]
    assert (after[other]["pid"], after[other]["restarts"]) == (before[other]["pid"], 0)
    assert content(profile.running.ask("demo"))


def is_tritonserver(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"


def test_a_restart_replaces_both_one_after_the_other_without_a_failed_request(
    profile: Profile,
) -> None:
    before = profile.status()["replicas"]
    command = [sys.executable, "-m", "enginix", "restart", "--url", profile.running.url]
    over = threading.Event()

    def answers() -> set[str]:
        found = set()
        while not over.is_set():
            found.add(content(profile.running.ask("demo")))
        return found

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(answers) for _ in range(2)]
        try:
            restart = subprocess.run(
                command, env=profile.env, capture_output=True, text=True, timeout=2 * SECONDS
            )
        finally:
            over.set()
    assert {answer for client in clients for answer in client.result()} == {
        "The capital of France is Paris."
    }
    assert (restart.returncode, restart.stdout) == (0, "demo was restarted\n"), restart.stderr
    after = profile.status()["replicas"]
    assert {one["status"] for one in after.values()} == {"loaded"}
    assert not {one["pid"] for one in before.values()} & {one["pid"] for one in after.values()}
