"""`enginix up --models FILE` takes up a changed file as users run it, on SIGHUP."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import Running, content, environment, serving

PATIENCE = 60.0


def configuration(running: Running) -> dict[str, Any]:
    """Once the supervisor answers in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := httpx.get(f"{running.url}/v1/status", timeout=20).json()["configuration"]):
        assert time.monotonic() < deadline
    return dict(found)


def test_a_model_is_added_and_a_damaged_one_refused_before_anything_changes(
    tmp_path_factory: Any, tmp_path: Path, runtime: Runtime, demo_engine: Path
) -> None:
    file, damaged = tmp_path / "models.json", tmp_path / "damaged"
    shutil.copytree(demo_engine, damaged)
    (damaged / "tokenizer.json").write_text("{}")

    def write(**models: tuple[str, Path]) -> None:
        rows = {
            name: {"engine": engine, "model_path": str(path), "max_batch_size": 1}
            for name, (engine, path) in models.items()
        }
        file.write_text(json.dumps({"models": rows}))

    write(a=("llamacpp", demo_engine))
    env = environment(tmp_path_factory.mktemp("h"), runtime)
    (port,) = free_ports(1)
    with serving(env, port, "up", f"--models={file}") as running:
        assert f"changes of {file} with: kill -HUP {running.process.pid}" in running.log.text()
        write(a=("llamacpp", demo_engine), b=("triton", damaged))
        running.process.send_signal(signal.SIGHUP)
        assert running.log.says("nothing is changed until that is corrected", patience=PATIENCE)
        assert "tokenizer.json" in configuration(running)["error"]
        status = [sys.executable, "-m", "enginix", "status", f"--url={running.url}"]
        assert "\nnot in force: " in subprocess.check_output(status, text=True)
        write(b=("llamacpp", demo_engine), a=("llamacpp", demo_engine))
        running.process.send_signal(signal.SIGHUP)
        assert content(running.until_answered("b", PATIENCE)) == "The capital of France is Paris."
        assert configuration(running)["error"] is None
