"""Models that join a running profile: by their path, on another engine, and only from roots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import environment, serving

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
KEY = "sk-operator"


@dataclass(frozen=True)
class Running:
    url: str
    root: Path

    def post(self, path: str, body: dict[str, Any], key: str | None = KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=90)

    def chat(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": QUESTION, "temperature": 0, **more}
        return self.post("/v1/chat/completions", body)


@pytest.fixture(scope="module")
def profile(
    tmp_path_factory: pytest.TempPathFactory, runtime: Runtime, demo_engine: Path
) -> Iterator[Running]:
    """The demo model in llama-server, two gateway processes, and a model root."""
    home, root = tmp_path_factory.mktemp("h"), tmp_path_factory.mktemp("models")
    shutil.copytree(demo_engine, root / "second")
    port, http = free_ports(2)
    env = {
        **environment(home, runtime),
        "ENGINIX_ENGINE": str(demo_engine),
        "ENGINIX_API_KEYS": KEY,
    }
    options = (f"--http-port={http}", f"--model-root={root}", "--set=demo.options.threads=1")
    with serving(env, port, "up", "gguf", *options, "--workers=2") as up:
        yield Running(up.url, root)


def test_a_second_engine_is_loaded_by_its_path_and_answers(profile: Running) -> None:
    body = {"model": "second", "model_path": str(profile.root / "second")}
    loaded = profile.post("/v1/models/load", body)
    assert loaded.status_code == 200, loaded.text
    assert (loaded.json()["id"], loaded.json()["status"]) == ("second", "loaded")
    # New connections, so that both processes get requests.
    for answer in [profile.chat("second") for _ in range(6)]:
        content = answer.json()["choices"][0]["message"]["content"]
        assert (content, answer.json()["model"]) == ("The capital of France is Paris.", "second")
    unloaded = profile.post("/v1/models/unload", {"model": "second"})
    assert unloaded.json()["status"] == "idle"
    assert {profile.chat("second").status_code for _ in range(6)} == {503}
    assert profile.chat("demo").status_code == 200


def test_a_path_outside_the_roots_is_refused(profile: Running, demo_engine: Path) -> None:
    for path in (str(demo_engine), f"{profile.root}/../../etc", "/etc"):
        refused = profile.post("/v1/models/load", {"model_path": path})
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "path_not_allowed"


def test_loading_needs_an_api_key(profile: Running) -> None:
    body = {"model_path": str(profile.root / "second")}
    assert profile.post("/v1/models/load", body, key=None).status_code == 401


def test_a_missing_server_program_says_what_to_install(profile: Running) -> None:
    checkpoint = profile.root / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    body = {"model_path": str(checkpoint), "engine": "vllm", "dtype": "bfloat16"}
    refused = profile.post("/v1/models/load", body)
    assert refused.status_code == 400
    assert "vllm is not installed" in refused.json()["error"]["message"]
