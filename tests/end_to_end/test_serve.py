"""`enginix serve` as a new user types it: from a name at the hub, or a file, to a first token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from fakes.hub import Hub, Repo

from enginix.catalog.load import DIRECTORY
from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import CAPITAL, Running, content, environment, serving

REPO = "org/Tiny-NVFP4"
DEMO = DIRECTORY / "checkpoints" / "demo"
PARIS = "The capital of France is Paris."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


@pytest.fixture(scope="module")
def env(home: Path, runtime: Runtime) -> dict[str, str]:
    variables = {**environment(home, runtime), "HF_HOME": str(home / "none")}
    variables.pop("HF_TOKEN", None)
    return variables


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in DEMO.iterdir()}
    with Hub({REPO: Repo(files)}) as hub:
        yield hub


def serve(env: dict[str, str], *words: str) -> AbstractContextManager[Running]:
    (port,) = free_ports(1)
    return serving(env, port, "serve", *words)


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "enginix", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_repository_at_the_hub_is_fetched_built_and_served(
    env: dict[str, str], home: Path, hub: Hub
) -> None:
    with serve({**env, "HF_ENDPOINT": hub.url}, REPO, "--set=Tiny-NVFP4.options.threads=1") as up:
        said = up.log.text()
        assert f"{REPO}@0123456789ab at the hub" in said
        assert "serves it repacked without loss for llama.cpp, on the CPU" in said
        assert "no: it needs an NVIDIA GPU" in said
        assert str(home / "engines" / "Tiny-NVFP4") in said
        for name in ("Tiny-NVFP4", REPO):
            assert content(up.ask(name, CAPITAL)) == PARIS
    listed = json.loads(run(env, "list", "--json").stdout)
    assert [(item["what"], item["name"]) for item in listed] == [
        ("engine", "Tiny-NVFP4"),
        ("checkpoint", f"{REPO}@0123456789ab"),
    ]
    assert listed[0]["made_from"] == listed[1]["name"]


def test_what_was_fetched_and_built_once_is_served_without_the_hub(
    env: dict[str, str], home: Path
) -> None:
    engine = home / "engines" / "Tiny-NVFP4" / "manifest.json"
    before = engine.stat().st_mtime_ns
    with serve({**env, "HF_ENDPOINT": "http://127.0.0.1:9"}, REPO) as up:
        assert "as it was built before" in up.log.text()
        assert content(up.ask("Tiny-NVFP4", CAPITAL)) == PARIS
    assert engine.stat().st_mtime_ns == before


def test_a_gguf_file_and_a_directory_are_served_side_by_side(
    env: dict[str, str], tmp_path: Path, demo_engine: Path
) -> None:
    file = tmp_path / "small.gguf"
    shutil.copy(demo_engine / "model.gguf", file)
    with serve(env, str(file), str(demo_engine)) as up:
        rows = httpx.get(f"{up.url}/v1/status").json()["models"]
        assert {row["id"]: row["status"] for row in rows} == {"small": "loaded", "demo": "loaded"}
        assert content(up.ask("small.gguf", CAPITAL)) == PARIS
        assert content(up.ask("demo", CAPITAL)) == PARIS


def test_a_name_that_another_models_engine_has_is_refused_and_the_engine_stays(
    env: dict[str, str], home: Path, tmp_path: Path
) -> None:
    shutil.copytree(DEMO.with_name("demo-llama"), tmp_path / "Tiny-NVFP4")
    refused = run(env, "serve", str(tmp_path / "Tiny-NVFP4"), f"--port={free_ports(1)[0]}")
    assert refused.returncode == 2
    assert f"holds an engine of {REPO}" in refused.stderr
    assert "`enginix rm Tiny-NVFP4`" in refused.stderr
    manifest = json.loads((home / "engines" / "Tiny-NVFP4" / "manifest.json").read_text())
    assert manifest["source"]["repo"] == REPO
