"""What /metrics says of models and their servers, found when it is read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server
from gateway.supervised import supervised_model

from enginix.errors import BackendUnavailable
from enginix.gateway.models.admission import Admission
from enginix.gateway.models.conditions import disk_families
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.model_state import ModelState
from enginix.supervision import Availability, ServerStatus

SERVER = ServerStatus("loaded", True, 1, 1.0, None, 0, None, "")


@pytest.mark.parametrize(
    ("availability", "server", "generates"),
    [
        (Availability.OPEN, SERVER, True),
        (Availability.OPEN, replace(SERVER, status="error"), False),
        # It starts for the first time, which takes minutes.
        (Availability.OPEN, replace(SERVER, status="loading"), None),
        (Availability.OPEN, replace(SERVER, status="idle"), None),
        # It starts again after it failed: requests fail meanwhile.
        (Availability.OPEN, replace(SERVER, status="loading", restarts=1), False),
        (Availability.ON_DEMAND, replace(SERVER, status="idle", restarts=1), None),
        (Availability.CLOSED, replace(SERVER, status="loading", restarts=1), None),
    ],
)
async def test_a_supervisor_knows_whether_its_servers_generate(
    availability: Availability, server: ServerStatus, generates: bool | None
) -> None:
    backend = FakeBackend()
    state = ModelState(served(backend), Admission("demo", 1, 1), Metrics(["demo"]))
    state.presence = availability
    assert await state.generates(server) is generates
    assert not backend.probes


async def test_without_a_supervisor_a_probe_tells() -> None:
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend)) as client:

        async def until(line: str) -> None:
            async with asyncio.timeout(30):
                while line not in (await client.get("/metrics")).text:  # noqa: ASYNC110, scrapes
                    await asyncio.sleep(0.05)

        backend.probe_error = BackendUnavailable("it is gone")
        await until('enginix_model_healthy{model="demo"} 0.0')
        backend.probe_error = None
        await until('enginix_model_healthy{model="demo"} 1.0')
        text = (await client.get("/metrics")).text
    assert "enginix_server_" not in text
    assert "enginix_disk_" not in text


async def test_a_server_that_is_unloaded_is_idle_and_neither_healthy_nor_wedged(
    tmp_path: Path,
) -> None:
    async with supervised_model(tmp_path) as place:
        await place.client.post("/v1/models/unload", json={"model": "m"})
        # The first status is asked for now.
        text = (await place.client.get("/metrics")).text
    states = ("idle", "loading", "loaded", "error")
    for state in states:
        value = float(state == "idle")
        assert f'enginix_server_state{{model="m",state="{state}"}} {value}' in text
    assert 'enginix_server_restarts_total{model="m"} 0.0' in text
    assert "enginix_model_healthy" not in text


def test_the_disk_is_that_of_a_directory_that_will_be_made(tmp_path: Path) -> None:
    found = {
        family.name: family.samples[0].value
        for family in disk_families(tmp_path / "not" / "yet" / "made")
    }
    assert found.keys() == {"enginix_disk_free_bytes", "enginix_disk_size_bytes"}
    assert 0 <= found["enginix_disk_free_bytes"] < found["enginix_disk_size_bytes"]
