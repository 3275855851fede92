"""Clients that disconnect and servers that die, with the real Triton."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.process import descendants
from tests.conftest import RunningTriton, running_triton
from tests.end_to_end.gateway_process import RunningGateway, active_requests, running_gateway
from tests.waiting import until

pytestmark = pytest.mark.triton

# The model generates until it is stopped.
ENDLESS = {
    "messages": [{"role": "user", "content": "Count to one hundred."}],
    "ignore_eos": True,
    "min_tokens": 3000,
    "max_tokens": 3500,
}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_frees_the_slot_in_the_model(
    gateway: RunningGateway, triton_server: RunningTriton, stream: bool
) -> None:
    async def ask() -> None:
        async with (
            httpx.AsyncClient(timeout=60, trust_env=False) as client,
            client.stream(
                "POST", f"{gateway.base_url}/chat/completions", json={**ENDLESS, "stream": stream}
            ) as response,
        ):
            async for _ in response.aiter_bytes():
                pass

    async def seconds_to_be_free() -> float:
        asking = asyncio.create_task(ask())
        await until(lambda: active_requests(triton_server.metrics) == 1, 10)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        return await until(lambda: active_requests(triton_server.metrics) == 0, 5)

    # 100 ms plus the polling; the best of three, because machines stall too.
    assert min([await seconds_to_be_free() for _ in range(3)]) < 0.25
    # Of three answers of 3,500 tokens each.
    assert 0 <= in_vain(gateway) < 500


def in_vain(gateway: RunningGateway) -> float:
    metrics = httpx.get(f"{gateway.url}/metrics").text
    found = re.search(r'^enginix_tokens_after_cancel_total\{model="demo"\} (\S+)$', metrics, re.M)
    assert found
    return float(found[1])


async def test_a_half_closed_connection_counts_as_a_disconnect(
    gateway: RunningGateway, triton_server: RunningTriton
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    content = httpx.Request("POST", gateway.url, json={**ENDLESS, "stream": True}).content
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
        % (len(content), content)
    )
    await reader.readuntil(b"data: ")
    writer.write_eof()
    await until(lambda: active_requests(triton_server.metrics) == 0, 5)
    writer.close()


async def test_killing_triton_ends_the_stream_with_an_error_and_fails_the_health_check(
    runtime: object, demo_engine: Path
) -> None:
    with (
        running_triton(demo_engine) as triton,
        running_gateway(demo_engine, triton.grpc) as gateway,
    ):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            assert (await client.get(f"{gateway.url}/health")).status_code == 200
            last, killed = "", None
            async with client.stream(
                "POST", f"{gateway.base_url}/chat/completions", json={**ENDLESS, "stream": True}
            ) as response:
                async for line in response.aiter_lines():
                    if killed is None:
                        killed = time.monotonic()
                        kill_tree(triton.pid)
                    last = line or last
            assert killed is not None
            assert time.monotonic() - killed < 2
            assert '"error"' in last
            assert (await client.get(f"{gateway.url}/health")).status_code == 503
            refused = await client.post(f"{gateway.base_url}/chat/completions", json=ENDLESS)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert (await client.get(f"{gateway.base_url}/models")).status_code == 200


async def test_a_client_that_stops_reading_is_disconnected_and_its_slot_freed(
    triton_server: RunningTriton,
) -> None:
    flags = ("--stalled-seconds=1",)
    with running_gateway(triton_server.engine, triton_server.grpc, *flags) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        body = {**ENDLESS, "stream": True, "n": 4}
        content = httpx.Request("POST", gateway.url, json=body).content
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
            % (len(content), content)
        )
        await until(lambda: active_requests(triton_server.metrics) == 4, 10)
        await until(lambda: active_requests(triton_server.metrics) == 0, 30)
        client.close()


async def test_sigterm_lets_running_streams_finish_and_refuses_new_ones(
    triton_server: RunningTriton,
) -> None:
    with running_gateway(triton_server.engine, triton_server.grpc) as gateway:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            body = {**ENDLESS, "stream": True, "min_tokens": 300, "max_tokens": 300}
            lines = []
            async with client.stream(
                "POST", f"{gateway.base_url}/chat/completions", json=body
            ) as response:
                async for line in response.aiter_lines():
                    if not lines:
                        gateway.process.send_signal(signal.SIGTERM)
                        refused = await until_refused(client, gateway, body)
                    lines.append(line)
        assert refused.json()["error"]["code"] == "shutting_down"
        assert "data: [DONE]" in lines
        assert await asyncio.to_thread(gateway.process.wait, 10) == 0


async def until_refused(
    client: httpx.AsyncClient, gateway: RunningGateway, body: Any
) -> httpx.Response:
    async with asyncio.timeout(5):
        while True:
            async with client.stream(
                "POST", f"{gateway.base_url}/chat/completions", json=body
            ) as response:
                if response.status_code == 503:
                    await response.aread()
                    return response


def kill_tree(pid: int) -> None:
    for each in (*descendants(pid), pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
