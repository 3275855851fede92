"""QuantConfig is exactly the checkpoint's quantization, in TensorRT-LLM's names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.random_checkpoint import Shape, write_checkpoint

from enginix.checkpoint.load import Checkpoint, open_checkpoint
from enginix.engine.trtllm.modules import read_decoder
from enginix.engine.trtllm.quant_config import quant_config
from enginix.errors import CheckpointDamaged, CheckpointUnsupported

DEFAULTS = [
    "*router",
    "*vocab_embedding",
    "*position_embedding",
    "*block_embedding",
    "*shared_expert_gate",
    "*fused_a",
]


def config_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    return quant_config(checkpoint, read_decoder(checkpoint))


def without(checkpoint: Path, target: Path, is_dropped: Callable[[str], bool]) -> Checkpoint:
    """A copy whose header lacks some tensors; only headers are read here."""
    found = open_checkpoint(shutil.copytree(checkpoint, target))
    for name in [name for name in found.tensors if is_dropped(name)]:
        del found.tensors[name]
    return found


def test_every_field_is_the_checkpoints(checkpoint: Path) -> None:
    assert config_of(open_checkpoint(checkpoint)) == {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": [*DEFAULTS, "lm_head"],
    }


def test_an_unquantized_checkpoint_has_no_quant_config(plain_checkpoint: Path) -> None:
    assert config_of(open_checkpoint(plain_checkpoint)) is None


def test_a_layer_left_plain_is_excluded_by_its_other_name(checkpoint: Path, tmp_path: Path) -> None:
    def is_scale(name: str) -> bool:
        return name.startswith("model.layers.1.mlp.gate_proj.") and not name.endswith(".weight")

    found = config_of(without(checkpoint, tmp_path / "c", is_scale))
    assert found is not None
    # `fc` is TensorRT-LLM's name for the gate projection.
    assert found["exclude_modules"][-2:] == ["transformer.layers.1.mlp.fc", "lm_head"]


def test_half_quantized_attention_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    broken = without(
        checkpoint, tmp_path / "c", lambda name: name.endswith("0.self_attn.k_proj.weight_scale")
    )
    with pytest.raises(CheckpointUnsupported, match="only some of them are quantized"):
        config_of(broken)


def test_packed_weights_without_a_stated_quantization_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "c")
    (copy / "hf_quant_config.json").unlink()
    with pytest.raises(CheckpointDamaged, match=r"is U8, but no file states how it is quantized"):
        config_of(open_checkpoint(copy))


def test_llama_is_excluded_by_the_same_names(tmp_path: Path) -> None:
    llama = open_checkpoint(write_checkpoint(tmp_path / "c", Shape(family="llama")))
    found = config_of(llama)
    assert found is not None
    assert found["exclude_modules"] == [*DEFAULTS, "lm_head"]
