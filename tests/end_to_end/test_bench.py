"""`enginix bench` against the real gateway and a Triton that generates tokens for free."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from fakes.token_triton import TokenTriton

from tests.conftest import Log
from tests.end_to_end.gateway_process import RunningGateway, running_gateway

KEY = "s3cret"


@pytest.fixture(scope="module")
def gateway(demo_engine: Path, token_server: TokenTriton) -> Iterator[RunningGateway]:
    with running_gateway(demo_engine, token_server.address, keys=KEY) as running:
        yield running


def command(gateway: RunningGateway, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "enginix", "bench", gateway.url, *arguments]


def bench(
    gateway: RunningGateway, *arguments: str, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ENGINIX_API_KEYS": "", "OPENAI_API_KEY": key}
    return subprocess.run(
        command(gateway, *arguments), capture_output=True, text=True, timeout=120, env=env
    )


def test_a_sweep_measures_every_level(gateway: RunningGateway, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    arguments = ("--concurrency=1,4", "--requests=8", "--max-tokens=30", "--ignore-eos")

    done = bench(gateway, *arguments, "--prompt-tokens=100", f"--json={file}")

    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert (record["model"], [level["concurrency"] for level in record["levels"]]) == (
        "demo",
        [1, 4],
    )
    for level in record["levels"]:
        assert (level["ok"], level["failed"], level["output_tokens"]) == (8, 0, 8 * 30)
        assert level["counted_by_server"]
        assert level["prompt_tokens"] == pytest.approx(100, rel=0.15)
        assert 0 < level["first_token"]["p50"] <= level["end_to_end"]["p50"]
    assert "output tokens/s" in done.stdout


def test_requests_may_come_at_a_rate(gateway: RunningGateway) -> None:
    done = bench(gateway, "--rate=200", "--requests=20", "--max-tokens=5")

    assert done.returncode == 0, done.stderr
    assert "200/s" in done.stdout
    assert "20" in row(done.stdout, "requests ok")


def test_refused_requests_are_counted_and_shown(gateway: RunningGateway, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.write_text("Hello\n" + json.dumps({"messages": [{"role": "nobody"}]}))

    done = bench(gateway, f"--prompts={prompts}", "--requests=6", "--warm-up=0", "--max-tokens=5")

    assert done.returncode == 1
    assert row(done.stdout, "requests failed") == ["3"]
    assert "1: 3 failed: HTTP 4" in done.stderr


def test_a_server_that_fails_without_load_is_not_benchmarked(gateway: RunningGateway) -> None:
    done = bench(gateway, "--model=nobody")

    assert done.returncode == 1
    assert "fails without any load: HTTP 404: no model named 'nobody' here" in done.stderr
    assert not done.stdout


def test_a_wrong_key_is_reported_before_any_request(gateway: RunningGateway) -> None:
    done = bench(gateway, key="wrong")

    assert done.returncode == 1
    assert "/v1/models answered 401" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr


def test_an_interrupted_sweep_shows_its_results_so_far(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    arguments = ("--concurrency=1,2", "--duration=1", "--max-tokens=5", f"--json={file}")
    child = subprocess.Popen(
        command(gateway, *arguments, "--timeout=600"),
        stdout=PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ENGINIX_API_KEYS": KEY},
    )
    log = Log(child)

    assert log.says("concurrency 1: "), log.text()
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=30) == 130
    log.close()

    assert "interrupted" in log.text()
    levels: list[dict[str, Any]] = json.loads(file.read_text())["levels"]
    assert levels[0]["concurrency"] == 1
    assert levels[0]["ok"] > 0
    assert "Traceback" not in log.text()


def row(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()
