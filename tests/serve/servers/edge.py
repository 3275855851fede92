"""Builds an engine of kind edge-llm, and serves it behind a gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from enginix.cli import environment
from enginix.engine.build import Job, build_engine
from enginix.engine.edge_llm.build import BuildContext, edge_llm_build
from enginix.errors import NotACheckpoint, NotAnEngine
from enginix.manifest import Limits
from enginix.runtimes import edge_llm_program
from enginix.serve.environment import Environment
from enginix.serve.gateway import gateway_url
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.up import running_profile
from tests.conftest import free_ports


def build_edge(runtime: Path, checkpoint: Path, out: Path) -> Path:
    context = BuildContext(
        runtime / "bin" / "python",
        Path(edge_llm_program.__file__),
        dict(os.environ),
        out.with_name(f"{out.name}-work"),
        lambda _: None,
    )
    build = edge_llm_build(Job("edge", checkpoint, Limits(2, 2048, 1536)), context)
    build_engine(build, out, lambda _: None)
    return out


def not_here(*_: object) -> Path:
    raise NotAnEngine(Path("none"), "there is none here")


def no_checkpoint(*_: object) -> Path:
    raise NotACheckpoint("there is none here")


@asynccontextmanager
async def serving(root: Path, engine: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """The gateway, and the server's own address."""
    port, http = free_ports(2)
    entry = ModelEntry("edge", engine="edge-llm", path=str(engine), http_port=http)
    profile = Profile("edge", "An edge server", [entry], GatewayEntry(port))
    here = Environment(
        home=root / "home",
        logs=root / "logs",
        enginix=[sys.executable, "-m", "enginix"],
        runtime=lambda _: root / "runtime",
        find_engine=not_here,
        find_checkpoint=no_checkpoint,
        gateway_variables=environment.for_child(),
        server_variables=environment.for_server,
    )
    (root / "logs").mkdir(exist_ok=True)
    async with (
        running_profile(profile, here, lambda *_: None),
        httpx.AsyncClient(base_url=gateway_url(profile.gateway), timeout=60) as client,
    ):
        yield client, f"http://127.0.0.1:{http}"
