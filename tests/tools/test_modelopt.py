"""Recordings of ModelOpt's rank files: which values may differ between machines."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enginix.errors import ProcessError
from enginix.process import run

COMPARE = Path(__file__).parents[2] / "tools" / "modelopt" / "compare.py"
KEPT = Path(__file__).parents[1] / "recordings" / "modelopt"
LAYER = "transformer.layers.0.mlp.proj"

Changed = Callable[[str], Path]


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """changed(name) -> a recording with another hash for that tensor of one rank."""

    def change(name: str) -> Path:
        recording = json.loads((KEPT / "recording.json").read_text())
        rank = recording["families"]["qwen3"]["2"][1]
        dtype, shape, _, *value = rank[name].split()
        rank[name] = " ".join([dtype, shape, "0" * 64, *value])
        (tmp_path / "recording.json").write_text(json.dumps(recording))
        return tmp_path

    return change


def compare(new: Path) -> str:
    return run([sys.executable, str(COMPARE), str(KEPT), str(new)])


def test_a_recording_equals_itself(tmp_path: Path) -> None:
    shutil.copy(KEPT / "recording.json", tmp_path)
    assert compare(tmp_path).startswith("1,526 tensors compared, 0 differ")


@pytest.mark.parametrize("name", [f"{LAYER}.weight", f"{LAYER}.weights_scaling_factor"])
def test_another_weight_or_block_scale_fails_and_is_named(changed: Changed, name: str) -> None:
    with pytest.raises(ProcessError, match=rf"qwen3, rank 1 of 2: {name}: recorded"):
        compare(changed(name))


def test_another_activation_scale_is_only_reported(changed: Changed) -> None:
    report = compare(changed(f"{LAYER}.activation_scaling_factor"))
    assert "1 differ, 1 of them scales of activations" in report
