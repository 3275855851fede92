"""Servers on addresses of IPv6."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from enginix.bench.target import Target
from tests.conftest import free_ports, running_triton
from tests.end_to_end.gateway_process import running_gateway

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6"),
]


def test_a_chat_goes_through_a_gateway_and_a_triton_that_ipv6_reaches(
    runtime: object, demo_engine: Path
) -> None:
    http, grpc, _ = ports = free_ports(3)
    flags = [
        f"--{name}-port={port}"
        for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)
    ]
    with (
        running_triton(demo_engine, "--host=::1", *flags),
        running_gateway(demo_engine, f"[::1]:{grpc}", "--host=::") as gateway,
    ):
        assert httpx.get(f"http://[::1]:{http}/v2/health/ready").status_code == 200
        body = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
        port = gateway.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            answer = httpx.post(f"http://{host}:{port}/v1/chat/completions", json=body)
            assert "Paris" in answer.json()["choices"][0]["message"]["content"]
        assert Target(f"[::1]:{port}").models() == ["demo"]
