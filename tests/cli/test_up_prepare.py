"""`enginix up --prepare`: fetches and builds what is missing, and stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.hub import Hub, Repo
from fakes.random_checkpoint import write_checkpoint
from fakes.trtllm_runtime import write_runtime

from enginix.cli.main import main
from enginix.manifest import read_manifest
from tests.inventory.home import DEMO

FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "home"


def test_the_checkpoint_of_a_model_that_is_served_as_it_is_is_fetched_with_the_token_of_a_file(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "token").write_text("hf_good\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    with Hub({"Qwen/Qwen3-Coder-30B-A3B-Instruct": Repo(FILES, gated=True)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["up", "--model=qwen3-coder-30b", "--prepare"]) == 0
    (directory,) = (home / "checkpoints").glob("Qwen--*@*")
    assert f"fetched  {directory}" in capsys.readouterr().out
    # It is there: nobody is asked.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["up", "--model=qwen3-coder-30b", "--prepare"]) == 0
    assert "fetched" not in capsys.readouterr().out


def test_an_engine_for_tensorrt_llm_is_fetched_for_and_built(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(
        "ENGINIX_RUNTIME_TENSORRT_LLM", str(write_runtime(tmp_path / "runtime").parents[1])
    )
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    config = json.loads(files["config.json"]) | {"max_position_embeddings": 40960}
    files["config.json"] = json.dumps(config).encode()
    with Hub({"nvidia/Qwen3-32B-NVFP4": Repo(files)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["up", "qwen3", "--prepare"]) == 0, capsys.readouterr().err
    engine = home / "engines" / "qwen3-32b"
    assert read_manifest(engine).kind == "tensorrt-llm"
    assert f"engine   {engine}" in capsys.readouterr().out


def test_a_hub_that_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--model=qwen3-coder-30b", "--prepare"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "127.0.0.1:9" in err
