"""The real llama-server behind the gateway: parsing by its own parsers and by ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx
import pytest
from gateway.harness import events, server, user

import enginix.serve
from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.runtimes.runtime import Runtime
from enginix.serve.llama_server import physical_cores
from tests.conftest import Log, free_ports

CORES = physical_cores()
several_cores = pytest.mark.skipif(CORES == 1, reason="this machine has one core")
PROGRAM = Path(enginix.serve.__path__[0]) / "llama_server.py"
QUESTION = user("What is the capital of France?")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
# Makes it leave the reasoning in the text; calls stay there if tools are not allowed.
RAW = {"reasoning_format": "none", "temperature": 0, "max_tokens": 100}


@contextmanager
def serving(runtime: Runtime, engine: Path, threads: int) -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    (port,) = free_ports(1)
    command = [str(runtime.python), str(PROGRAM), f"--model={engine}/model.gguf"]
    command += ["--alias=demo", f"--port={port}", f"--threads={threads}", "--parallel=2"]
    command.append("--keep-to-cores")
    process = subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True)
    log = Log(process)
    try:
        assert log.says("llama-server serves"), log.text()
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture(scope="module")
def llama_server(runtime: Runtime, demo_engine: Path) -> Iterator[str]:
    with serving(runtime, demo_engine, threads=1) as (url, _):
        yield url


@asynccontextmanager
async def gateway(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Parsed by llama-server as the model `own`, and by our parsers as `ours`."""
    formats: dict[str, Any] = {"reasoning": "think-tags", "tools": "hermes-json"}
    own, ours = (
        PassthroughModel(name, OpenAIBackend("llama-server", url, "demo"), "llamacpp", **more)
        for name, more in (("own", {}), ("ours", formats))
    )
    async with server(own, ours) as client:
        yield client


def parts(answer: httpx.Response) -> tuple[str, str, list[Any]]:
    """Reasoning, answer and calls, without the white space that the two sides trim differently."""
    message = answer.json()["choices"][0]["message"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    reasoning, content = message.get("reasoning_content"), message["content"]
    return (reasoning or "").strip(), (content or "").strip(), calls


@pytest.mark.parametrize("tools", [None, [TOOL]], ids=["an answer", "a call"])
async def test_our_parsers_agree_with_llama_servers(llama_server: str, tools: Any) -> None:
    messages = user("What is the weather in Paris?") if tools else QUESTION
    asked = {"messages": messages, "temperature": 0, "max_tokens": 100}
    asked |= {"tools": tools} if tools else {}
    async with gateway(llama_server) as client:
        own = await client.post("/v1/chat/completions", json={**asked, "model": "own"})
        raw = {**asked, **RAW, "model": "ours"}
        ours = await client.post("/v1/chat/completions", json=raw)
    assert parts(ours) == parts(own)
    assert parts(ours)[0]
    assert bool(parts(ours)[2]) == bool(tools)
    assert ours.json()["usage"]["completion_tokens"] == own.json()["usage"]["completion_tokens"]


@pytest.mark.parametrize("model", ["own", "ours"])
async def test_what_llama_server_had_in_its_cache_reaches_the_client_and_the_metrics(
    llama_server: str, model: str
) -> None:
    asked = {"model": model, "messages": user(f"Count for {model}."), "max_tokens": 4}
    async with gateway(llama_server) as client:
        for _ in range(2):
            answer = await client.post("/v1/chat/completions", json=asked)
        metrics = (await client.get("/metrics")).text
    usage = answer.json()["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < usage["prompt_tokens"]
    (line,) = re.findall(rf'enginix_cached_prompt_tokens_total{{model="{model}"}} (.*)', metrics)
    assert cached <= float(line) < 2 * usage["prompt_tokens"]


@pytest.mark.parametrize("model", ["own", "ours"])
async def test_every_dialect_has_the_same_answer(llama_server: str, model: str) -> None:
    async with gateway(llama_server) as client:
        asked: dict[str, Any] = {"model": model, "temperature": 0, "stream": True}
        message = {**asked, "max_tokens": 100, "messages": QUESTION}
        response = {**asked, "max_output_tokens": 100, "input": QUESTION[0]["content"]}
        messages = events((await client.post("/v1/messages", json=message)).text)
        responses = events((await client.post("/v1/responses", json=response)).text)
        counted = {"model": model, "messages": QUESTION}
        count = (await client.post("/v1/messages/count_tokens", json=counted)).json()
    deltas = [each["delta"] for each in messages if each["type"] == "content_block_delta"]
    assert "".join(each.get("text", "") for each in deltas).strip().endswith("Paris.")
    assert any("thinking" in each for each in deltas)
    done = responses[-1]["response"]
    assert done["output"][-1]["content"][0]["text"].strip().endswith("Paris.")
    assert done["usage"]["input_tokens"] == count["input_tokens"]
    assert messages[-1]["type"] == "message_stop"


async def test_the_openai_package_streams_a_response_and_continues_it(llama_server: str) -> None:
    openai = pytest.importorskip("openai", reason="not packaged everywhere")
    async with gateway(llama_server) as http:
        client = openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)
        asked = {"model": "own", "temperature": 0}
        async with client.responses.stream(**asked, input=QUESTION) as stream:
            first = await stream.get_final_response()
        second = await client.responses.create(
            **asked, input="And of Spain?", previous_response_id=first.id, max_output_tokens=3
        )
        await client.close()
    assert first.output_text.strip().endswith("Paris.")
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.status == "incomplete"


SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "name": "x", "schema": SCHEMA}


async def test_every_dialect_enforces_a_schema(llama_server: str) -> None:
    asked: dict[str, Any] = {"model": "own", "temperature": 0}
    shaped = {"messages": QUESTION, "max_tokens": 200, "output_config": {"format": FORMAT}}
    question = QUESTION[0]["content"]
    async with gateway(llama_server) as client:
        message = await client.post("/v1/messages", json={**asked, **shaped})
        body = {**asked, "input": question, "text": {"format": FORMAT}}
        response = await client.post("/v1/responses", json=body)
    answers = (message.json()["content"][-1], response.json()["output"][-1]["content"][0])
    assert [json.loads(answer["text"]).keys() for answer in answers] == [{"a"}, {"a"}]


async def test_a_message_that_is_to_call_nothing_calls_nothing(llama_server: str) -> None:
    tool = {"name": "get_weather", "input_schema": TOOL["function"]["parameters"]}
    asked: dict[str, Any] = {"model": "own", "temperature": 0, "max_tokens": 100, "tools": [tool]}
    asked["messages"] = user("What is the weather in Paris?")
    async with gateway(llama_server) as client:
        free = await client.post("/v1/messages", json=asked)
        held = await client.post("/v1/messages", json={**asked, "tool_choice": {"type": "none"}})
    reasons = [answer.json()["stop_reason"] for answer in (free, held)]
    assert reasons == ["tool_use", "end_turn"]


PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


async def test_an_image_is_the_requests_mistake_where_the_model_reads_none(
    llama_server: str,
) -> None:
    async with gateway(llama_server) as client:
        asked = {"model": "own", "messages": [{"role": "user", "content": [PIXEL]}]}
        answer = await client.post("/v1/chat/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "image input is not supported" in answer.json()["error"]["message"]


def allowed(process: int) -> set[frozenset[int]]:
    """The sets of processors that its threads may use."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads}


@several_cores
def test_as_many_threads_as_cores_keep_to_one_each(runtime: Runtime, demo_engine: Path) -> None:
    with serving(runtime, demo_engine, threads=CORES) as (url, process):
        asked = {"prompt": "The capital", "max_tokens": 2}
        assert httpx.post(f"{url}/v1/completions", json=asked, timeout=30).status_code == 200
        own = allowed(process)
    assert len(own) == CORES
    assert sum(map(len, own)) == len(frozenset().union(*own))


@several_cores
def test_fewer_threads_than_cores_run_anywhere(runtime: Runtime, demo_engine: Path) -> None:
    with serving(runtime, demo_engine, threads=1) as (_, process):
        assert allowed(process) == {frozenset(os.sched_getaffinity(0))}


def test_a_file_that_is_no_gguf_ends_in_a_sentence(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF, but not for long")
    command = [runtime.python, PROGRAM, f"--model={file}", "--alias=broken", "--port=1"]
    done = subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"llama.cpp cannot serve {file}; expected a complete GGUF file"
    )
