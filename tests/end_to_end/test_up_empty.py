"""`enginix up` without a profile: a gateway that has no model until one is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import CAPITAL, Running, content, environment, serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, demo_engine: Path) -> Path:
    """A directory of GGUF files, as people have one."""
    directory = tmp_path_factory.mktemp("models")
    shutil.copy(demo_engine / "model.gguf", directory / "tiny.gguf")
    return directory


@pytest.fixture(scope="module")
def empty(
    tmp_path_factory: pytest.TempPathFactory, runtime: Runtime, models: Path
) -> Iterator[Running]:
    (port,) = free_ports(1)
    env = environment(tmp_path_factory.mktemp("h"), runtime)
    with serving(env, port, "up", f"--model-root={models}") as running:
        yield running


def get(running: Running, path: str) -> Any:
    return httpx.get(running.url + path).raise_for_status().json()


def test_it_serves_and_says_that_it_has_no_model(empty: Running) -> None:
    assert "no model yet" in empty.log.text()
    assert get(empty, "/v1/models")["data"] == []
    assert get(empty, "/v1/status")["models"] == []
    assert get(empty, "/health") == {"status": "ok", "models": {}}
    answer = empty.ask("demo")
    assert answer.status_code == 404
    assert "load one with `enginix load NAME`" in answer.json()["error"]["message"]
    status = [sys.executable, "-m", "enginix", "status", f"--url={empty.url}"]
    assert "no model is loaded" in subprocess.check_output(status, text=True)


@pytest.mark.parametrize("field", ["model_path", "model"])
def test_a_gguf_file_is_loaded_by_its_path_and_asked_by_it(
    empty: Running, models: Path, field: str
) -> None:
    path = str(models / "tiny.gguf")
    loaded = httpx.post(f"{empty.url}/v1/models/load", json={field: path}, timeout=60)
    assert (loaded.status_code, loaded.json()["id"]) == (200, "tiny"), loaded.text
    for name in ("tiny", "tiny.gguf", path):
        assert content(empty.ask(name, CAPITAL)) == "The capital of France is Paris."


def test_a_gguf_file_outside_the_roots_is_refused(empty: Running, demo_engine: Path) -> None:
    path = str(demo_engine / "model.gguf")
    refused = httpx.post(f"{empty.url}/v1/models/load", json={"model": path})
    assert refused.status_code == 400
    assert "--model-root" in refused.json()["error"]["message"]
