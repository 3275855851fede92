"""A scripted model in the real Triton, and the gateway in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fakes.scripted_triton import ScriptedTriton, models_file, scripted_triton

from enginix.runtimes.runtime import Runtime
from tests.end_to_end.gateway_process import RunningGateway, models_gateway


@dataclass(frozen=True)
class Scripted:
    """The gateway's address, and the script that decides the answers."""

    triton: ScriptedTriton
    gateway: RunningGateway
    client: httpx.Client


@pytest.fixture(scope="session")
def scripted(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    directory = tmp_path_factory.mktemp("scripted")
    with (
        scripted_triton(runtime, directory) as triton,
        models_gateway(models_file(directory / "engines", triton.address)) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client,
    ):
        yield Scripted(triton, gateway, client)
