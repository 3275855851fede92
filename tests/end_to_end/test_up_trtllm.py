"""`enginix up multi` with a stand-in for trtllm-serve: two models, one port, started in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT

import httpx
import openai
import pytest
from fakes.trtllm_serve.__main__ import install

from enginix.process import descendants
from tests.conftest import Log, free_ports
from tests.end_to_end import up_process

QWEN, NEMOTRON = "qwen3-30b-a3b", "nemotron-3-nano-30b-a3b"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


@dataclass(frozen=True)
class Running(up_process.Running):
    ports: dict[str, int]

    def server(self, model: str) -> int:
        """The process that serves it."""
        port = f"--port={self.ports[model]}".encode()
        for pid in descendants(self.process.pid):
            if port in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        raise AssertionError(f"nobody serves {model}: {self.log.text()}")


@contextmanager
def started(home: Path, checkpoints: dict[str, Path], **variables: str) -> Iterator[Running]:
    port, qwen, nemotron = free_ports(3)
    ports = {QWEN: qwen, NEMOTRON: nemotron}
    command = [sys.executable, "-m", "enginix", "up", "multi", f"--port={port}"]
    for model, path in checkpoints.items():
        command += [f"--set={model}.http_port={ports[model]}", f'--set={model}.path="{path}"']
    env = {
        **os.environ,
        "ENGINIX_HOME": str(home),
        "ENGINIX_RUNTIME_TENSORRT_LLM": str(install(home / "trtllm")),
        **variables,
    }
    process = subprocess.Popen(
        command, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True, env=env
    )
    log = Log(process)
    try:
        yield Running(f"http://127.0.0.1:{port}", process, log, ports)
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """trtllm-serve names a model after the last part of its directory."""
    found = {}
    for model, name in ((QWEN, "Qwen3-30B-A3B-FP4"), (NEMOTRON, "Nemotron-3-Nano")):
        found[model] = tmp_path_factory.mktemp("checkpoints") / name
        found[model].mkdir()
        (found[model] / "config.json").write_text("{}")
    return found


@pytest.fixture(scope="module")
def multi(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path]
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("h")
    with started(home, checkpoints, FAKE_LOADING_SECONDS="0.5") as running:
        assert running.log.says("Ctrl-C stops everything"), running.log.text()
        yield running


def test_qwen_serves_before_nemotron_is_started_and_the_gateway_is_last(multi: Running) -> None:
    lines = multi.log.text().splitlines()
    ready = [line.split()[0] for line in lines if " ready after " in line]
    assert ready == [QWEN, NEMOTRON, "gateway"]


def test_each_family_answers_by_its_name_with_separate_reasoning(multi: Running) -> None:
    for name, model in ((QWEN, "Qwen3-30B-A3B-FP4"), ("any-Nemotron", "Nemotron-3-Nano")):
        message = multi.ask(name).json()["choices"][0]["message"]
        assert message["content"] == ANSWER
        assert message["reasoning_content"] == f"I am {model}."


def test_a_stream_carries_our_name_and_usage_only_on_request(multi: Running) -> None:
    client = openai.OpenAI(base_url=f"{multi.url}/v1", api_key="any")
    for options in ({}, {"stream_options": {"include_usage": True}}):
        with client.chat.completions.create(
            model=QWEN,
            messages=QUESTION,
            stream=True,
            **options,  # type: ignore[call-overload]
        ) as stream:
            chunks = list(stream)
        assert {chunk.model for chunk in chunks} == {QWEN}
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == ANSWER
        assert [bool(chunk.usage) for chunk in chunks].count(True) == len(options)


def test_trtllm_serves_refusal_keeps_its_message(multi: Running) -> None:
    answer = multi.ask(QWEN, tool_choice="required", tools=[])
    assert answer.status_code == 400
    assert "`tools` must be set" in answer.json()["error"]["message"]


def test_a_killed_server_is_restarted_while_the_other_keeps_serving(multi: Running) -> None:
    before = multi.server(NEMOTRON)
    os.kill(before, signal.SIGKILL)
    assert multi.ask(QWEN).status_code == 200
    assert multi.log.says(f"{NEMOTRON} serves again", 30), multi.log.text()
    message = multi.until_answered(NEMOTRON, 30).json()["choices"][0]["message"]
    assert message["content"] == ANSWER
    assert multi.server(NEMOTRON) != before


def test_a_server_whose_health_stays_green_without_tokens_is_replaced(multi: Running) -> None:
    port = multi.ports[QWEN]
    before = multi.server(QWEN)
    httpx.post(f"http://127.0.0.1:{port}/wedge/silent")
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    assert multi.log.says(f"{QWEN} serves again", 60), multi.log.text()
    assert multi.server(QWEN) != before


def test_a_machine_without_a_gpu_shows_trtllm_serves_message(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    with started(tmp_path, checkpoints, FAKE_GPUS="0") as running:
        assert running.log.says("No GPU devices found on the node"), running.log.text()
