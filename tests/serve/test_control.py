"""The supervisor's answers on its socket, for models with several servers."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from serve.house import staying
from serve.test_supervisor import FOREVER, restarting_server

from enginix.errors import BackendUnavailable, RequestError
from enginix.gateway.supervision.client import SupervisorClient
from enginix.serve.control import control_socket
from enginix.serve.managed_model import ManagedModel
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.scheduler import ModelScheduler


@pytest.fixture
def home() -> Iterator[Path]:
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="h") as directory:
        yield Path(directory)


@asynccontextmanager
async def supervised(
    home: Path, replicas: list[Replica], endpoints: list[str]
) -> AsyncIterator[SupervisorClient]:
    entry = staying("a", replicas=len(replicas), endpoints=endpoints)
    model = ManagedModel(entry, ReplicaGroup("a", replicas, endpoints), {"name": "a"})
    scheduler = ModelScheduler([model])
    async with control_socket(home / "control", scheduler):
        try:
            await model.server.load()
            yield SupervisorClient(home / "control")
        finally:
            await scheduler.close()


async def test_each_server_of_a_model_has_a_status_and_the_best_one_is_the_models(
    home: Path,
) -> None:
    broken = restarting_server(home, "a", "print('no CUDA here'); raise SystemExit(3)")
    sound = restarting_server(home, "a#2")
    replicas = [Replica("host:1", broken), Replica("host:2", sound)]
    async with supervised(home, replicas, ["far:3"]) as client:
        model = (await client.status())["a"]
        log = await client.log("a", 9)
        pid = sound.process.pid
    assert (model.status, model.pid, model.process_alive) == ("loaded", pid, True)
    assert "no CUDA here" in str(model.last_error)
    one, two, three = model.replicas.values()
    assert list(model.replicas) == ["host:1", "host:2", "far:3"]
    assert "no CUDA here" in str(one.last_error)
    assert (two.status, two.pid, two.last_error) == ("loaded", pid, None)
    assert (three.status, three.pid, three.log) == ("external", None, "")
    assert model.restarts == one.restarts + two.restarts
    assert (model.log, log.path) == (str(home / "a#2.log"), str(home / "a#2.log"))


async def test_a_model_that_is_served_elsewhere_has_no_process_and_no_log(home: Path) -> None:
    async with supervised(home, [], ["far:3"]) as client:
        model = (await client.status())["a"]
        with pytest.raises(RequestError, match="a has no server here, and so no log"):
            await client.log("a", 9)
        unloaded = (await client.unload("a", drain=0)).servers["a"]
    assert (model.status, model.pid, model.process_alive) == ("external", None, False)
    assert model.replicas["far:3"].status == "external"
    assert unloaded.status == "idle"


async def test_the_only_server_of_a_model_is_not_repeated_as_a_replica(home: Path) -> None:
    only = restarting_server(home, "a")
    async with supervised(home, [Replica("host:1", only)], []) as client:
        model = (await client.status())["a"]
        restarted = (await client.restart("a", drain=0)).servers["a"]
    assert (model.status, model.replicas) == ("loaded", {})
    assert restarted.pid not in (None, model.pid)


async def test_a_restart_says_from_its_log_why_a_server_is_not_ready_again(home: Path) -> None:
    code = f"import os, signal; assert not os.path.exists(r'{{mark}}.broken'); {FOREVER}"
    broken, sound = restarting_server(home, "a", code), restarting_server(home, "a#2")
    replicas = [Replica("host:1", broken), Replica("host:2", sound)]
    async with supervised(home, replicas, []) as client:
        pid = sound.process.pid
        (home / "a.ready").unlink()
        (home / "a.ready.broken").touch()
        with pytest.raises(
            BackendUnavailable, match=r"a exited with status 1(.|\n)*AssertionError"
        ):
            await client.restart("a", drain=0)
        model = (await client.status())["a"]
    assert (model.status, model.pid) == ("loaded", pid)
