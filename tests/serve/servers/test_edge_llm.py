"""TensorRT Edge-LLM's server: started only for an engine that fits, and asked as it has to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx
import pytest
from fakes.edge_llm import install
from fakes.made_checkpoint import DEMO
from serve.servers.edge import build_edge, serving

from enginix.errors import BackendTimedOut, UsageError
from enginix.runtimes import edge_llm_program
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import Profile, check
from enginix.serve.servers.edge_llm import EDGE_LLM
from enginix.speculative import Speculative

CHAT = "/v1/chat/completions"
HELLO = {"model": "edge", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="h") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def runtime(root: Path) -> Path:
    return install(root / "runtime")


@pytest.fixture(scope="module")
def engine(root: Path, runtime: Path) -> Path:
    checkpoint = shutil.copytree(DEMO, root / "checkpoint")
    return build_edge(runtime, checkpoint, root / "engine")


def test_its_program_gets_the_engine_a_cache_of_its_own_and_the_loopback(tmp_path: Path) -> None:
    entry = ModelEntry("m", engine="edge-llm", http_port=5, options={"queue_timeout": 60})
    program = [str(tmp_path / "bin" / "tensorrt-edgellm-serve")]
    made = EDGE_LLM.command(program, entry, "/e", Path("/run/m.yaml"))
    assert made.argv == [
        *(str(tmp_path / "bin" / "python"), edge_llm_program.__file__, "serve", "/e"),
        *(f"--program={program[0]}", "--cache=/run/m.cache"),
        *("--host=127.0.0.1", "--port=5", "--served-model-name=m", "--enable-auto-tool-choice"),
        *("--reasoning-parser=none", "--queue-timeout=60"),
    ]


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("max_batch_size", "options.max_batch_size is built into its engine"),
        ("speculative_config", "no server of it decodes speculatively here"),
    ],
)
def test_an_option_that_would_make_it_build_another_engine_is_refused(
    option: str, complaint: str
) -> None:
    entry = ModelEntry("m", engine="edge-llm", options={option: 4})
    with pytest.raises(UsageError, match=complaint):
        EDGE_LLM.command(["serve"], entry, "/e", Path("/run/m.yaml"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"speculative": Speculative(method="ngram")}, "its draft is built into an engine"),
        ({"adapters": {"a": "/adapter"}}, "its server loads no LoRA"),
    ],
)
def test_drafts_and_adapters_are_refused_with_the_reason(
    fields: dict[str, Any], complaint: str
) -> None:
    entry = ModelEntry("m", engine="edge-llm", **fields)
    with pytest.raises(UsageError, match=complaint):
        check(Profile("p", "A profile", [entry]), "here")


def started(runtime: Path, engine: Path, cache: Path, *more: str, **fake: str) -> str:
    """What the program prints that refuses to start; `fake`: FAKE_EDGE_*."""
    program = [str(runtime / "bin" / "python"), edge_llm_program.__file__, "serve", str(engine)]
    options = [f"--cache={cache}", "--program=/bin/false", *more]
    variables = {f"FAKE_EDGE_{name.upper()}": value for name, value in fake.items()}
    done = subprocess.run(
        [*program, *options],
        env={**os.environ, **variables},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("fake", "complaint"),
    [
        ({"sm": "100"}, "built for GPU compute capability 12.0, and here is 10.0"),
        ({"tensorrt": "10.16.1.11"}, "built for TensorRT 10.16.0.72, and here is 10.16.1.11"),
        ({"version": "0.11.1"}, "built for TensorRT Edge-LLM 0.11.0, and here is 0.11.1"),
        ({"sm": "90"}, "does not run here: Expected one exact native payload"),
    ],
)
def test_an_engine_from_another_machine_is_refused_which_the_server_would_take(
    runtime: Path, engine: Path, tmp_path: Path, fake: dict[str, str], complaint: str
) -> None:
    assert complaint in started(runtime, engine, tmp_path / "cache", **fake)
    assert not (tmp_path / "cache").exists()


def test_a_changed_checkpoint_is_refused_by_its_sha256_also_where_samples_are_the_same(
    runtime: Path, engine: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(engine.parent / "checkpoint", tmp_path / "checkpoint")
    with (changed / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    here = f"--checkpoint={changed}"
    said = started(runtime, engine, tmp_path / "cache", here)
    assert "model.safetensors has sha256" in said
    assert "put the checkpoint back as it was" in said
    shutil.copy(engine.parent / "checkpoint" / "model.safetensors", changed)
    (changed / "new.json").write_text("{}")
    assert "was changed or added since" in started(runtime, engine, tmp_path / "cache", here)
    shutil.rmtree(changed)
    assert "is not there" in started(runtime, engine, tmp_path / "cache", here)


def test_damaged_and_foreign_engines_are_refused(
    runtime: Path, engine: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(engine, tmp_path / "engine")
    next(copy.rglob("llm.engine")).write_bytes(b"cut")
    assert "is missing or has not the" in started(runtime, copy, tmp_path / "cache")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "kind": "gguf"}))
    assert "is of kind gguf, expected edge-llm" in started(runtime, copy, tmp_path / "cache")
    (copy / "manifest.json").write_text("{")
    assert "cannot be read" in started(runtime, copy, tmp_path / "cache")


async def asked(server: str) -> list[dict[str, Any]]:
    """The clients' requests that the server took, without the supervisor's probes."""
    async with httpx.AsyncClient(timeout=60) as client:
        found = (await client.get(f"{server}/asked")).json()
    return [body for body in found if body["max_tokens"] != 1]


async def test_it_is_always_asked_for_a_stream_in_fields_that_it_takes(
    root: Path, engine: Path
) -> None:
    async with serving(root, engine) as (client, server):
        odd = {"user": "me", "store": False, "top_k": None, "service_tier": "auto"}
        whole = (await client.post(CHAT, json={**HELLO, **odd})).json()
        async with client.stream("POST", CHAT, json={**HELLO, "stream": True}) as streamed:
            text = "".join([part async for part in streamed.aiter_text()])
        silent = {"reasoning_effort": "none", "max_tokens": 3}
        short = (await client.post(CHAT, json={**HELLO, **silent})).json()
        message = {"model": "edge", "max_tokens": 9000, "messages": HELLO["messages"]}
        other = (await client.post("/v1/messages", json=message)).json()
        bodies = await asked(server)
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == "The capital of France is Paris."
    assert choice["message"]["reasoning_content"] == "Capitals"
    assert whole["usage"]["completion_tokens"] == 10
    assert '"tool_calls":null' not in text
    assert text.rstrip().endswith("data: [DONE]")
    assert short["choices"][0]["message"]["content"] == "The capital of"
    assert other["content"][-1]["text"] == "The capital of France is Paris."
    assert all(body["stream"] for body in bodies)
    # The demo's own recommendation, and what the longest prompt leaves.
    assert {"temperature": 0, "max_tokens": 2048}.items() <= bodies[0].items()
    assert [body["max_tokens"] for body in bodies] == [2048, 2048, 3, 2048]
    assert [body["chat_template_kwargs"]["enable_thinking"] for body in bodies] == [
        *(True, True, False, True)
    ]


async def test_what_it_cannot_do_is_said_in_the_dialects_own_errors(
    root: Path, engine: Path
) -> None:
    async with serving(root, engine) as (client, _):
        answers = {
            name: await client.post(path, json={**HELLO, **fields})
            for name, path, fields in (
                ("unknown", CHAT, {"min_tokens": 3}),
                ("ignored", CHAT, {"repetition_penalty": 1.2}),
                ("refused", CHAT, {"n": 2}),
                ("no route", "/v1/completions", {"prompt": "Hi"}),
                ("long", CHAT, {"messages": [{"role": "user", "content": "x" * 500}]}),
            )
        }
    errors = {name: answer.json()["error"] for name, answer in answers.items()}
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {
        "unknown": 400,
        "ignored": 400,
        "refused": 400,
        "no route": 404,
        "long": 400,
    }
    assert (errors["unknown"]["param"], errors["ignored"]["param"]) == (
        *("min_tokens", "repetition_penalty"),
    )
    assert (
        "TensorRT Edge-LLM, which serves this model, has no min_tokens"
        in (errors["unknown"]["message"])
    )
    assert errors["refused"]["param"] == "n"
    assert "has no /v1/completions" in errors["no route"]["message"]
    assert errors["long"]["code"] == "context_length_exceeded"
    assert "maximum context length is 400 tokens" in errors["long"]["message"]


async def test_it_counts_as_alive_by_its_tokens_whatever_it_says_of_itself(
    root: Path, engine: Path
) -> None:
    async with serving(root, engine) as (_, server):
        entry = ModelEntry("edge", engine="edge-llm", http_port=int(server.rpartition(":")[2]))
        probe = EDGE_LLM.probes(EDGE_LLM, entry, str(engine)).token
        await probe()
        async with httpx.AsyncClient(base_url=server, timeout=60) as direct:
            await direct.post("/wedge/hollow")
            assert (await direct.get("/health")).json() == {"status": "healthy"}
        with pytest.raises(BackendTimedOut, match="produced no token within"):
            await probe()
