"""trtllm-build's output is adopted with one command and served with the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.random_checkpoint import write_checkpoint
from fakes.trtllm_runtime import write_runtime

from enginix.process import find_program
from tests.end_to_end.ranks import Machine

RANKS = 2


def enginix(*arguments: object, runtime: Path) -> str:
    variables = os.environ | {"ENGINIX_RUNTIME_TENSORRT_LLM": str(runtime)}
    command = [sys.executable, "-m", "enginix", *map(str, arguments)]
    return subprocess.run(
        command, env=variables, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def build_by_hand(checkpoint: Path, out: Path, runtime: Path) -> None:
    """The ranks' engines and their config.json, as trtllm-build leaves them."""
    whole = out.with_name("whole")
    arguments = ("--kind", "tensorrt-llm", "--tp", RANKS, "--out", whole)
    enginix("engine", "build", "--checkpoint", checkpoint, *arguments, runtime=runtime)
    for name in ("config.json", *(f"rank{rank}.engine" for rank in range(RANKS))):
        shutil.copy(whole / name, out)


@pytest.mark.skipif(
    find_program("mpirun") is None, reason="mpirun is not installed (Debian: openmpi-bin)"
)
def test_an_adopted_engine_is_served_like_any_other(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", RANKS)
    shutil.rmtree(machine.engine)
    machine.engine.mkdir()
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    runtime = write_runtime(tmp_path / "runtime").parents[1]
    build_by_hand(checkpoint, machine.engine, runtime)
    assert "`enginix engine verify DIR --write-manifest`" in machine.run().stdout
    options = ("--write-manifest", "--name", "mine", "--tokenizer", checkpoint)
    enginix("engine", "verify", machine.engine, *options, runtime=runtime)
    with machine.started() as running:
        assert running.log.says("Triton serves mine"), running.log.text()
        assert f"on {RANKS} ranks" in running.log.text()
