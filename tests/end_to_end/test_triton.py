"""The real Triton serves the demo engine, and leaves nothing when it ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from enginix.process import descendants
from tests.conftest import RunningTriton, running_triton
from tests.end_to_end.test_triton_killed import left_by, name_of

pytestmark = pytest.mark.triton

PROMPT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


def test_curl_gets_text_from_the_ensemble(triton_server: RunningTriton) -> None:
    answer = httpx.post(
        f"{triton_server.http}/v2/models/ensemble/generate",
        json={"text_input": PROMPT, "max_tokens": 50},
    )
    assert "The capital of France is Paris." in answer.json()["text_output"]


def test_a_stopped_server_leaves_nothing(runtime: object, demo_engine: Path) -> None:
    with running_triton(demo_engine) as server:
        family = [server.pid, *descendants(server.pid)]
        files = name_of(server.pid)
    assert len(family) > 1
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
    assert not left_by(files)


def test_an_engine_may_lie_in_a_directory_of_any_name(
    runtime: object, demo_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "müde 空"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    engine = shutil.copytree(demo_engine, directory / "engine")
    with running_triton(engine) as server:
        answer = httpx.post(
            f"{server.http}/v2/models/ensemble/generate",
            json={"text_input": PROMPT, "max_tokens": 50},
        )
    assert "The capital of France is Paris." in answer.json()["text_output"]
