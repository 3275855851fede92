"""Several gateway processes behave as one, and survive the death of one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from enginix.process import descendants
from tests.conftest import RunningTriton
from tests.end_to_end.gateway_process import RunningGateway, running_gateway
from tests.end_to_end.test_triton_killed import wait_until_gone

pytestmark = pytest.mark.triton

QUESTION = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
}


async def ask(gateway: RunningGateway, count: int) -> list[str]:
    """Each request on its own connection, so that every worker gets some."""

    async def one() -> str:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            response = await client.post(f"{gateway.base_url}/chat/completions", json=QUESTION)
            assert response.status_code == 200, response.text
            content: str = response.json()["choices"][0]["message"]["content"]
            return content

    return await asyncio.gather(*(one() for _ in range(count)))


def answered(gateway: RunningGateway) -> float:
    text = httpx.get(f"{gateway.url}/metrics").text
    found = re.search(r'requests_total\{model="demo",route="/v1/chat.*status="200"\} (\S+)', text)
    return float(found.group(1)) if found else 0.0


async def tritons_own(gateway: RunningGateway, kind: str) -> float:
    """One of the gauges that Triton has and the gateway passes on."""
    labels = f'model="demo",request_type="{kind}",version="1"'
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
        # On a busy machine Triton's page may not come in time at first.
        while True:
            text = (await client.get(f"{gateway.url}/metrics")).text
            found = re.search(rf"^nv_trt_llm_request_metrics{{{labels}}} (\S+)$", text, re.M)
            if found:
                return float(found[1])


async def test_metrics_are_those_of_all_workers_and_a_dead_one_is_replaced(
    triton_server: RunningTriton,
) -> None:
    flags = ("--workers=2", f"--triton-metrics={triton_server.metrics}/metrics")
    with running_gateway(triton_server.engine, triton_server.grpc, *flags) as gateway:
        assert await tritons_own(gateway, "max") == 16
        assert await tritons_own(gateway, "scheduled") == 0
        answers = await ask(gateway, 24)
        assert set(answers) == {"The capital of France is Paris."}
        assert answered(gateway) == 24
        workers = descendants(gateway.process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert gateway.log.says("restarting it")
        async with asyncio.timeout(30):
            while len(descendants(gateway.process.pid)) < 2:  # noqa: ASYNC110, a process's state
                await asyncio.sleep(0.05)
        await ask(gateway, 8)
        assert answered(gateway) >= 24
        family = descendants(gateway.process.pid)
    assert not [pid for pid in family if os.path.exists(f"/proc/{pid}")]


async def test_a_frozen_worker_is_replaced_within_five_seconds_and_the_other_keeps_serving(
    triton_server: RunningTriton,
) -> None:
    with running_gateway(triton_server.engine, triton_server.grpc, "--workers=2") as gateway:
        await ask(gateway, 24)
        frozen, other = descendants(gateway.process.pid)
        os.kill(frozen, signal.SIGSTOP)
        started = time.monotonic()
        assert gateway.log.says("did not move for 3.5 s, was killed", patience=20)
        async with asyncio.timeout(30):
            while len(descendants(gateway.process.pid)) < 2:  # noqa: ASYNC110, a process's state
                await asyncio.sleep(0.05)
        assert time.monotonic() - started < 6
        assert other in descendants(gateway.process.pid)
        answers = await ask(gateway, 24)
        assert set(answers) == {"The capital of France is Paris."}


def of_metrics(gateway: RunningGateway) -> Path:
    """The metrics directory that the workers share."""
    held = [os.readlink(fd) for fd in Path(f"/proc/{gateway.process.pid}/fd").iterdir()]
    (lock,) = {path for path in held if path.endswith("-lock")}
    return Path(f"{lock.removesuffix('lock')}files")


async def test_workers_end_with_a_killed_gateway_and_the_next_one_removes_its_files(
    triton_server: RunningTriton,
) -> None:
    with running_gateway(triton_server.engine, triton_server.grpc, "--workers=2") as gateway:
        workers, left = descendants(gateway.process.pid), of_metrics(gateway)
        assert left.is_dir()
        gateway.process.kill()
        wait_until_gone(workers, patience=2)
    assert left.is_dir()
    with running_gateway(triton_server.engine, triton_server.grpc, "--workers=2") as gateway:
        assert not left.exists()
        left = of_metrics(gateway)
    assert not left.exists()


async def test_api_keys_protect_the_api_but_not_the_health_check(
    triton_server: RunningTriton,
) -> None:
    with running_gateway(triton_server.engine, triton_server.grpc, keys="sk-a, sk-b") as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            path = "/v1/chat/completions"
            locked = await client.post(path, json=QUESTION)
            known = {"Authorization": "Bearer sk-b"}
            opened = await client.post(path, json=QUESTION, headers=known)
            health = await client.get("/health")
    assert (locked.status_code, opened.status_code, health.status_code) == (401, 200, 200)
