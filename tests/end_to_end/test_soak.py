"""A short soak: every answer is right, every process survives and none grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.runtimes.runtime import Runtime

pytestmark = pytest.mark.triton
PROGRAM = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_a_twenty_second_soak_finds_nothing(runtime: Runtime, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "0.33", "--at-once=4", f"--home={tmp_path}/h"]
    done = subprocess.run(
        [*command, f"--out={tmp_path}/out"],
        env={**os.environ, "ENGINIX_RUNTIME_TRITON_CPU": str(runtime.root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
    seen = json.loads((tmp_path / "out" / "soak.json").read_text())
    kinds = {each["kind"] for each in seen["requests"]}
    assert {"stream", "leave", "forced call", "hostile guide", "load", "unload"} <= kinds
    roles = {each["role"] for each in seen["samples"]}
    assert {"supervisor", "gateway", "tritonserver", "llama-server of demo-llama"} <= roles
