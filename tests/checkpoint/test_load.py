"""A checkpoint directory is read into one value, with the files that a build reads."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from checkpoint.files import safetensors, write_json

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.load import hash_files, open_checkpoint, source_files
from enginix.errors import CheckpointDamaged, NotACheckpoint

DEMO = DIRECTORY / "checkpoints/demo"


def test_the_shipped_checkpoint_is_opened() -> None:
    checkpoint = open_checkpoint(DEMO)
    assert checkpoint.architecture == "Qwen3ForCausalLM"
    assert checkpoint.config["num_hidden_layers"] == 4
    assert checkpoint.quantization.algo == "NVFP4"
    assert checkpoint.format == "modelopt"
    assert len(checkpoint.tensors) == 139


def test_source_files_exclude_files_that_no_build_reads(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    for name in ("README.md", "consolidated.safetensors", "pytorch_model.bin", "LICENSE.txt"):
        (tmp_path / name).write_text("")
    assert source_files(tmp_path) == sorted(path.name for path in DEMO.iterdir())


def test_hashes_are_of_whole_files() -> None:
    hashes = hash_files(DEMO)
    assert list(hashes) == source_files(DEMO)
    assert hashes["model.safetensors"] == (
        hashlib.sha256((DEMO / "model.safetensors").read_bytes()).hexdigest()
    )


def test_a_directory_without_a_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match=r"holds no config\.json"):
        open_checkpoint(tmp_path)


def test_a_missing_directory_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match="does not exist; expected a checkpoint directory"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100000, "\x00"])
def test_a_broken_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointDamaged, match=r"config\.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("names", [None, [], "Qwen3ForCausalLM", [3]])
def test_a_configuration_without_an_architecture_is_refused(tmp_path: Path, names: object) -> None:
    write_json(tmp_path / "config.json", {"architectures": names})
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    with pytest.raises(NotACheckpoint, match="architectures: expected a list"):
        open_checkpoint(tmp_path)
