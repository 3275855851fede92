"""What signals do to programs that serve one engine and have no file to read again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from enginix.process import descendants
from tests.conftest import RunningTriton, free_ports, logged_program
from tests.end_to_end.gateway_process import RunningGateway, running_gateway
from tests.end_to_end.test_triton_killed import ports
from tests.waiting import until

pytestmark = pytest.mark.triton

ENDLESS = {
    "messages": [{"role": "user", "content": "Count to one hundred."}],
    "stream": True,
    "ignore_eos": True,
    "min_tokens": 3000,
    "max_tokens": 3500,
}
UNCHANGED = "SIGHUP changes nothing"


@contextmanager
def streaming(gateway: RunningGateway) -> Iterator[Iterator[str]]:
    """The lines of an answer that has begun."""
    url = f"{gateway.base_url}/chat/completions"
    with httpx.stream("POST", url, json=ENDLESS, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        yield lines


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_of_a_gateway_is_logged_and_breaks_no_stream(
    triton_server: RunningTriton, demo_engine: Path, workers: int
) -> None:
    flags = () if workers == 1 else (f"--workers={workers}",)
    with running_gateway(demo_engine, triton_server.grpc, *flags) as gateway:
        with streaming(gateway) as lines:
            gateway.process.send_signal(signal.SIGHUP)
            assert gateway.log.says(UNCHANGED, 20)
            for _ in range(500):
                assert "error" not in next(lines)
        assert gateway.process.poll() is None
        assert "restarting" not in gateway.log.text()


async def test_a_hangup_ends_no_worker_that_still_starts(
    triton_server: RunningTriton, demo_engine: Path
) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "enginix", "openai", str(demo_engine), "--workers=2"]
    command += [f"--triton={triton_server.grpc}", f"--port={port}"]
    with logged_program(command, "(2 processes)", ends_within=30) as (gateway, log):
        await until(lambda: len(descendants(gateway.pid)) == 2)
        for worker in descendants(gateway.pid):
            os.kill(worker, signal.SIGHUP)
        await until(lambda: log.text().count("Application startup complete") == 2)
        assert "restarting" not in log.text()


def test_a_second_ctrl_c_ends_a_gateway_at_once_and_without_a_traceback(
    triton_server: RunningTriton, demo_engine: Path
) -> None:
    with running_gateway(demo_engine, triton_server.grpc) as gateway, streaming(gateway):
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.log.says("a second signal ends them", 20)
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(5) == 0
    assert "Traceback" not in gateway.log.text()


def test_a_hangup_of_triton_is_logged_and_changes_nothing(demo_engine: Path) -> None:
    flags = ports()
    url = f"http://127.0.0.1:{flags[0].partition('=')[2]}/v2/health/ready"
    command = [sys.executable, "-m", "enginix", "triton", str(demo_engine), "--threads=1", *flags]
    with logged_program([*command, "--exit-timeout=1"], "Triton serves") as (child, log):
        child.send_signal(signal.SIGHUP)
        assert log.says(UNCHANGED, 20)
        assert httpx.get(url).status_code == 200
