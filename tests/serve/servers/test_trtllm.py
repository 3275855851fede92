"""Our command lines for trtllm-serve, against a stand-in that refuses what the real one does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx
import pytest
from click import Command
from fakes.trtllm_serve.__main__ import PASSED_ON, install
from fakes.trtllm_serve.options import command
from fakes.trtllm_serve.settings import AutoDeployArgs, LlmArgs, read_settings
from pydantic import ValidationError

from enginix.readiness import answers_ok
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import load_profile, profile_names
from enginix.serve.servers.trtllm import TRTLLM
from tests.conftest import Log, free_ports

ENTRIES = [
    pytest.param(entry, id=f"{name}-{entry.name}")
    for name in profile_names()
    for entry in load_profile(name).models
    if entry.engine == "trtllm"
]
CHAT = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}


def parsed(argv: list[str]) -> dict[str, Any]:
    """What click makes of the words after the program's name."""
    reader: Command = command(lambda **options: options)
    found = reader.main(argv, standalone_mode=False)
    assert isinstance(found, dict)
    return found


def settings_of(entry: ModelEntry, directory: Path) -> LlmArgs:
    made = TRTLLM.command(["trtllm-serve"], entry, "checkpoint", directory / "settings.yaml")
    for path, text in made.files.items():
        path.write_text(text)
    options = parsed(made.argv[1:])
    return read_settings({key: options[key] for key in PASSED_ON}, options["extra_llm_api_options"])


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_profiles_options_and_settings_are_accepted(
    entry: ModelEntry, tmp_path: Path
) -> None:
    settings = settings_of(entry, tmp_path)
    assert isinstance(settings, AutoDeployArgs)
    assert settings.compile_backend == "torch-cudagraph"
    assert settings.kv_cache_config.free_gpu_memory_fraction == entry.memory
    assert settings.reasoning_parser == "deepseek-r1"


def test_a_setting_autodeploy_does_not_know_is_refused(tmp_path: Path) -> None:
    entry = load_profile("trtllm-qwen").models[0]
    wrong = replace(entry, autodeploy={**entry.autodeploy, "max_batchsize": 8})
    with pytest.raises(ValidationError, match="max_batchsize\n  Extra inputs are not permitted"):
        settings_of(wrong, tmp_path)


def test_autodeploy_takes_its_ranks_from_world_size_alone(tmp_path: Path) -> None:
    entry = load_profile("trtllm-qwen").models[0]
    wrong = replace(entry, options={"tp_size": 2})
    with pytest.raises(ValidationError, match="only supports parallelization via the `world_size`"):
        settings_of(wrong, tmp_path)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("trtllm")) / "bin" / "trtllm-serve"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["model", "--served_model_name=x"], "No such option '--served_model_name'"),
        (["model", "--reasoning_parser=qwen2"], "'qwen2' is not one of 'deepseek-r1', 'qwen3'"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_an_unknown_option_ends_it_with_its_usage(
    program: Path, words: list[str], complaint: str
) -> None:
    done = subprocess.run([str(program), *words], stdout=PIPE, stderr=STDOUT, text=True)
    assert done.returncode == 2
    assert done.stdout.startswith("Usage: trtllm-serve")
    assert complaint in done.stdout.replace(":", "")


@contextmanager
def serving(program: Path, model: Path, *options: str) -> Iterator[str]:
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [str(program), "serve", str(model), f"--port={port}", "--host=127.0.0.1", *options],
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )
    log = Log(process)
    try:
        assert log.says("Application startup complete"), log.text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture(scope="module")
def url(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tmp_path_factory.mktemp("models") / "Qwen3-FP4"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with serving(program, model, "--reasoning_parser=deepseek-r1") as url:
        yield url


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/health_generate", 200),
        ("GET", "/version", 200),
        ("POST", "/health", 405),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/messages", 404),
        ("POST", "/tokenize", 404),
        ("GET", "/", 404),
    ],
)
async def test_it_has_the_real_ones_routes(url: str, method: str, path: str, status: int) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.request(method, f"{url}{path}", json={})).status_code == status
    assert await answers_ok(f"{url}/health")


def test_its_metrics_are_json_and_its_model_is_the_last_part_of_its_path(url: str) -> None:
    assert httpx.get(f"{url}/metrics").json() == []
    (model,) = httpx.get(f"{url}/v1/models").json()["data"]
    assert (model["id"], model["owned_by"]) == ("Qwen3-FP4", "tensorrt_llm")


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"parallel_tool_calls": True}, "parallel_tool_calls\n  Extra inputs are not permitted"),
        ({"stream_options": {}}, "stream_options can only be set if stream is true"),
        ({"tool_choice": "auto"}, "`tools` must be set"),
        ({"messages": [{"role": "assistant", "reasoning_content": "x"}]}, "not permitted"),
    ],
)
def test_a_request_it_does_not_know_is_refused_in_its_own_envelope(
    url: str, extra: dict[str, object], complaint: str
) -> None:
    answer = httpx.post(f"{url}/v1/chat/completions", json={**CHAT, **extra})
    assert answer.status_code == 400
    assert answer.json()["type"] == "BadRequestError"
    assert complaint in answer.json()["message"]


def test_its_stream_has_its_quirks(url: str) -> None:
    asked = {**CHAT, "stream": True, "max_tokens": 7}
    text = httpx.post(f"{url}/v1/chat/completions", json=asked).text
    first, *events, done, end = text.split("\n\n")
    assert first.endswith(" ")
    assert (done, end) == ("data: [DONE]", "")
    deltas = [json.loads(event[6:])["choices"][0] for event in events]
    assert {tuple(each["delta"]) for each in deltas} == {("content", "reasoning_content")}
    assert (deltas[-1]["delta"]["content"], deltas[-1]["finish_reason"]) == (" capital", "length")
