"""A gateway with a real supervisor, whose one model is a stand-in in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from gateway.harness import server

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import BackendError
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import LoadLimits, Settings
from enginix.serve.control import control_socket
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.restart import RestartingServer
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import ServerSpec
from enginix.supervision import Configuration
from tests.conftest import free_ports

PROGRAM = Path(__file__).parent.parent / "fakes" / "wedged_server.py"


@dataclass
class Place:
    server: RestartingServer
    client: httpx.AsyncClient


def stand_in_server(
    directory: Path, name: str, *, deadline: float = 20
) -> tuple[RestartingServer, OpenAIBackend, str]:
    """A server in a process of its own, a client that probes it, and its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    backend = OpenAIBackend("stand-in", url, "m")

    async def is_ready() -> bool:
        try:
            await backend.probe()
        except BackendError:
            return False
        return True

    argv = [sys.executable, str(PROGRAM), str(port)]
    spec = ServerSpec(name, argv, directory / "log", is_ready, deadline=deadline)
    return RestartingServer(spec), backend, url


@asynccontextmanager
async def supervised_model(
    directory: Path,
    *,
    drain: float = 20.0,
    on_demand: bool = False,
    configuration: Configuration | None = None,
) -> AsyncIterator[Place]:
    """One model in a real process, its supervisor's socket, and a gateway."""
    restarting, backend, url = stand_in_server(directory, "m")
    socket = directory / "control"
    settings = Settings(load=LoadLimits(drain=drain), supervisor=socket)
    model = PassthroughModel("m", OpenAIBackend("stand-in", url, "m"), "vllm")
    try:
        scheduler = ModelScheduler(
            [
                ManagedModel(
                    ModelEntry("m", engine="vllm", on_demand=on_demand),
                    ReplicaGroup("m", [Replica(url, restarting)]),
                    {"name": "m"},
                )
            ]
        )
        async with (
            control_socket(socket, scheduler, configuration=lambda: configuration),
            server(model, settings=settings) as http,
        ):
            await restarting.load()
            yield Place(restarting, http)
    finally:
        await restarting.unload()
        await backend.close()
