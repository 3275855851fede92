"""Any body for the load and unload routes: never a 500, always an end."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from gateway.harness import application, ids, served
from gateway.test_changed_requests import changed

from enginix.errors import RequestError
from enginix.gateway.settings import Settings
from enginix.serve.control import control_socket
from enginix.serve.managed_model import ManagedModel
from enginix.serve.scheduler import ModelScheduler
from enginix.supervision import LoadRequest

GOOD: dict[str, dict[str, Any]] = {
    "/v1/models/load": {
        "model": "absent",
        "model_path": "/no/such/place",
        "engine": "vllm",
        "dtype": "auto",
        "gpu_memory_utilization": 0.5,
        "max_model_len": 100,
    },
    "/v1/models/unload": {"model": "absent", "engine": "vllm"},
    "/v1/models/restart": {"model": "absent"},
}


async def refused(request: LoadRequest) -> ManagedModel:
    raise RequestError(f"no model is to be had here: {request}", param="model")


@pytest.mark.parametrize("path", GOOD)
async def test_no_changed_request_to_a_supervisor_is_a_500(path: str, tmp_path: Path) -> None:
    chance = random.Random(path)
    settings = Settings(supervisor=tmp_path / "s")
    headers = {"content-type": "application/json"}
    statuses = set()
    async with (
        control_socket(tmp_path / "s", ModelScheduler([]), refused),
        application(served(FakeBackend(ids("x"))), settings=settings) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        for _ in range(150):
            content = json.dumps(changed(GOOD[path], chance))
            answer = await client.post(path, content=content, headers=headers)
            statuses.add(answer.status_code)
            assert answer.status_code < 500, (content, answer.text)
    assert statuses <= {400, 404}
