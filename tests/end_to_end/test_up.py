"""`enginix up demo-multi` as users run it: two models, two server programs, one port."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.process import descendants
from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports, is_running
from tests.end_to_end.up_process import CAPITAL, Running, content, environment, serving


@contextmanager
def running_profile(home: Path, runtime: Runtime) -> Iterator[Running]:
    port, http, grpc, metrics, llama = free_ports(5)
    with serving(
        environment(home, runtime),
        port,
        *("up", "demo-multi"),
        *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        f"--set=demo-llama.http_port={llama}",
        "--set=demo-llama.options.threads=1",
        "--set=demo.options.threads=1",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home: nothing is built before the first run."""
    return tmp_path_factory.mktemp("h")


@pytest.fixture(scope="module")
def profile(home: Path, runtime: Runtime) -> Iterator[Running]:
    with running_profile(home, runtime) as running:
        yield running


def test_the_first_run_builds_both_engines(profile: Running, home: Path) -> None:
    for name in ("demo", "demo-llama"):
        assert f"{home / 'engines' / name}\n" in profile.log.text()
        assert (home / "engines" / name / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("model", "is_that"),
    [
        ("demo", "a tiny NVFP4 test model"),
        ("any-triton-model", "a tiny NVFP4 test model"),
        ("demo-llama", "a tiny Llama in NVFP4"),
        ("tiny-llama", "a tiny Llama in NVFP4"),
        ("any-llama-7b", "a tiny Llama in NVFP4"),
    ],
)
def test_each_name_reaches_its_model(profile: Running, model: str, is_that: str) -> None:
    assert content(profile.ask(model, "Who are you?")) == f"I am {is_that}."
    assert content(profile.ask(model)) == "The capital of France is Paris."


def test_the_metrics_have_the_load_that_each_models_server_reports(profile: Running) -> None:
    deadline, text = time.monotonic() + 30, ""
    # On a busy machine Triton's page may not come in time at first.
    while 'request_type="max"' not in text:
        assert time.monotonic() < deadline, text
        text = httpx.get(f"{profile.url}/metrics", timeout=30).text
    # A probe may run at the moment, so no number is the right one.
    requests = r'nv_trt_llm_request_metrics\{model="%s",request_type="scheduled"%s\} \d+\.0\n'
    assert re.search(requests % ("demo", ',version="1"'), text)
    # llama-server has no such page: the gateway's own counts.
    assert re.search(requests % ("demo-llama", ""), text)
    assert "nv_trt_llm_kv_cache" not in text


def test_both_models_call_a_tool_in_their_own_formats(
    profile: Running, llama_evals: list[dict[str, Any]]
) -> None:
    tools = next(one["tools"] for one in llama_evals if one["tools"])
    for model in ("demo", "demo-llama"):
        answer = profile.ask(model, "What is the weather in Rome?", tools=tools).json()
        [call] = answer["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "get_weather"
        assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}


def test_a_dead_executor_behind_a_healthy_triton_is_replaced(profile: Running) -> None:
    os.kill(profile.child("/repository/tensorrt_llm/"), signal.SIGKILL)
    assert profile.log.says("demo is started again", patience=60), profile.log.text()
    assert content(profile.until_answered("demo", 60))


def test_a_dead_preprocessing_model_is_detected_although_tokens_still_work(
    profile: Running,
) -> None:
    os.kill(profile.child("/repository/preprocessing/"), signal.SIGKILL)
    assert content(profile.ask("demo"))
    assert profile.log.says("preprocessing", patience=60), profile.log.text()
    assert content(profile.until_answered("demo", 60))


def test_a_frozen_gateway_is_replaced_within_ten_seconds(profile: Running) -> None:
    os.kill(profile.child("openai"), signal.SIGSTOP)
    started = time.monotonic()
    assert profile.log.says("gateway is started again", patience=30), profile.log.text()
    assert time.monotonic() - started < 10
    deadline = time.monotonic() + 30
    while not is_answering(profile.url):
        assert time.monotonic() < deadline, profile.log.text()
    assert content(profile.until_answered("demo", 60))


def is_answering(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def test_a_frozen_llama_server_is_replaced_and_the_other_model_keeps_serving(
    profile: Running,
) -> None:
    os.kill(profile.child("llama_server.py"), signal.SIGSTOP)
    assert content(profile.ask("demo"))
    assert profile.log.says("demo-llama is started again", patience=60), profile.log.text()
    assert content(profile.until_answered("demo-llama", 60))


def test_a_killed_triton_command_is_restarted_at_once_although_it_was_busy(
    profile: Running,
) -> None:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": CAPITAL}],
        "max_tokens": 3000,
        "ignore_eos": True,
        "stream": True,
    }
    url = f"{profile.url}/v1/chat/completions"
    profile.until_answered("demo", 60)
    before = profile.log.text().count("demo is started again")
    command = profile.child("\0triton\0")
    family = descendants(command)
    with httpx.stream("POST", url, json=body, timeout=30) as answer:
        next(answer.iter_lines())
        os.kill(command, signal.SIGKILL)
        deadline = time.monotonic() + 2
        while any(is_running(pid) for pid in family):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert content(profile.until_answered("demo", 30))
    assert profile.log.text().count("demo is started again") == before + 1


def test_nothing_is_left_running_when_the_supervisor_is_killed(
    home: Path, runtime: Runtime
) -> None:
    with running_profile(home, runtime) as running:
        pids = descendants(running.process.pid)
        running.process.kill()
        deadline = time.monotonic() + 2
        while any(is_running(pid) for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert len(pids) >= 6
