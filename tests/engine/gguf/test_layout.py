"""Every tensor gets its place; missing, unused and misshapen ones are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine.gguf.conftest import Make
from gguf import GGMLQuantizationType as Type

from enginix.checkpoint.load import Checkpoint, open_checkpoint
from enginix.checkpoint.tensors import TensorInfo
from enginix.engine.gguf.hyperparameters import Rope, read_hyperparameters
from enginix.engine.gguf.layout import lay_out, rotary_factors
from enginix.engine.gguf.tensor_sources import Constant, GgufTensor, Plain
from enginix.errors import CheckpointDamaged, CheckpointUnsupported

UP = "model.layers.0.mlp.up_proj"


def laid_out(checkpoint: Checkpoint) -> dict[str, GgufTensor]:
    tensors = lay_out(checkpoint, read_hyperparameters(checkpoint))
    return {tensor.name: tensor for tensor in tensors}


def changed(
    checkpoint: Checkpoint, name: str, *, dtype: str | None = None, shape: object = None
) -> Checkpoint:
    tensor = checkpoint.tensors[name]
    other = replace(tensor, dtype=dtype or tensor.dtype, shape=shape or tensor.shape)
    return replace(checkpoint, tensors={**checkpoint.tensors, name: other})


def dropped(checkpoint: Checkpoint, *names: str) -> Checkpoint:
    left = {name: info for name, info in checkpoint.tensors.items() if name not in names}
    return replace(checkpoint, tensors=left)


def added(checkpoint: Checkpoint, name: str) -> Checkpoint:
    some = checkpoint.tensors["model.norm.weight"]
    extra = TensorInfo(name, some.dtype, some.shape, some.file, some.start, some.stop)
    return replace(checkpoint, tensors={**checkpoint.tensors, name: extra})


def test_quantized_matrices_stay_nvfp4_and_others_keep_their_type(make: Make) -> None:
    tensors = laid_out(open_checkpoint(make()))

    assert tensors["blk.0.ffn_up.weight"].type is Type.NVFP4
    assert tensors["token_embd.weight"].type is Type.BF16
    assert tensors["blk.0.attn_norm.weight"].type is Type.F32


def test_experts_become_one_tensor_and_their_router_stays_exact(make: Make) -> None:
    tensors = laid_out(open_checkpoint(make(architecture="qwen3moe", experts=8)))

    assert tensors["blk.1.ffn_down_exps.weight"].shape == (8, 192, 128)
    assert tensors["blk.1.ffn_down_exps.scale"].shape == (8,)
    assert tensors["blk.1.ffn_gate_inp.weight"].type is Type.F32


def test_an_unquantized_matrix_is_kept_unchanged(make: Make) -> None:
    plain = open_checkpoint(make(weights="bf16")).tensors[f"{UP}.weight"]
    mixed = dropped(
        open_checkpoint(make()), f"{UP}.weight_scale", f"{UP}.weight_scale_2", f"{UP}.input_scale"
    )
    mixed = replace(mixed, tensors={**mixed.tensors, f"{UP}.weight": plain})

    assert laid_out(mixed)["blk.0.ffn_up.weight"].type is Type.BF16


def test_a_matrix_without_a_scale_for_its_input_has_none(make: Make) -> None:
    tensors = laid_out(dropped(open_checkpoint(make()), f"{UP}.input_scale"))

    assert "blk.0.ffn_up.scale" in tensors
    assert "blk.0.ffn_up.input_scale" not in tensors


def test_an_expert_without_a_scale_for_its_input_gets_one_beside_the_others(make: Make) -> None:
    checkpoint = open_checkpoint(make(architecture="qwen3moe"))
    missing = "model.layers.0.mlp.experts.1.up_proj.input_scale"

    parts = laid_out(dropped(checkpoint, missing))["blk.0.ffn_up_exps.input_scale"].parts

    assert [type(part) for part in parts[:3]] == [Plain, Constant, Plain]
    assert isinstance(parts[1], Constant)
    assert parts[1].values.tolist() == [1.0]


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "lm_head.weight", f"{UP}.weight", f"{UP}.weight_scale_2"]
)
def test_a_missing_tensor_is_named(name: str, make: Make) -> None:
    with pytest.raises(CheckpointDamaged, match=rf"the tensor '{name}' is missing"):
        laid_out(dropped(open_checkpoint(make()), name))


def test_a_tensor_of_another_shape_is_named_with_both(make: Make) -> None:
    with pytest.raises(
        CheckpointDamaged, match=r"has the shape \[7\], but config.json requires \[1"
    ):
        laid_out(changed(open_checkpoint(make()), "model.norm.weight", shape=(7,)))


def test_a_tensor_of_an_unknown_dtype_is_refused(make: Make) -> None:
    with pytest.raises(
        CheckpointUnsupported, match="is F8_E5M2, but the gguf kind takes NVFP4, BF16"
    ):
        laid_out(changed(open_checkpoint(make()), "model.norm.weight", dtype="F8_E5M2"))


def test_scales_of_another_dtype_are_refused(make: Make) -> None:
    with pytest.raises(CheckpointDamaged, match="is BF16, expected F8_E4M3"):
        laid_out(changed(open_checkpoint(make()), f"{UP}.weight_scale", dtype="BF16"))


def test_an_input_not_divisible_by_64_is_refused(make: Make) -> None:
    with pytest.raises(
        CheckpointUnsupported, match=r"has 208 inputs, but llama\.cpp's NVFP4 needs a"
    ):
        laid_out(open_checkpoint(make(hidden=208)))


def test_plain_weights_may_have_any_width(make: Make) -> None:
    assert laid_out(open_checkpoint(make(hidden=208, weights="bf16")))


def test_experts_of_two_dtypes_are_refused(make: Make) -> None:
    checkpoint = open_checkpoint(make(architecture="qwen3moe", weights="bf16"))

    with pytest.raises(CheckpointDamaged, match="are BF16 and F16; expected one dtype"):
        laid_out(changed(checkpoint, "model.layers.0.mlp.experts.3.up_proj.weight", dtype="F16"))


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.q_proj.bias", "model.layers.2.mlp.up_proj.weight", "score.weight"],
)
def test_a_tensor_without_a_place_is_refused(name: str, make: Make) -> None:
    with pytest.raises(CheckpointUnsupported, match=rf"the first is '{name}'"):
        laid_out(added(open_checkpoint(make()), name))


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.k_proj.k_scale"],
)
def test_tensors_that_llama_cpp_computes_itself_are_left_out(name: str, make: Make) -> None:
    assert laid_out(added(open_checkpoint(make()), name))


def test_a_head_saved_beside_tied_embeddings_is_left_out(make: Make) -> None:
    checkpoint = open_checkpoint(make(config={"tie_word_embeddings": True}))

    assert "lm_head.weight" in checkpoint.tensors
    assert "output.weight" not in laid_out(checkpoint)


def test_llama_31_scaling_becomes_a_tensor(make: Make) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    checkpoint = make(architecture="llama", config={"rope_scaling": scaling})

    assert laid_out(open_checkpoint(checkpoint))["rope_freqs.weight"].shape == (32,)


def test_llama_31_keeps_fast_turns_and_stretches_slow_ones() -> None:
    # As transformers computes them in _compute_llama3_parameters, for Llama 3.1 8B.
    keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    rope = Rope(500000.0, "llama3", dict(zip(keys, (8.0, 1.0, 4.0, 8192.0), strict=True)))

    factors = rotary_factors(rope, 128)

    wavelengths = 2 * np.pi * 500000.0 ** (np.arange(0, 128, 2) / 128)
    assert set(factors[wavelengths < 8192 / 4]) == {1.0}
    assert set(factors[wavelengths > 8192]) == {8.0}
    between = factors[(wavelengths >= 8192 / 4) & (wavelengths <= 8192)]
    assert len(between) == 6
    assert np.all(np.diff(between) > 0)


def test_llama_31_stretches_what_lies_between_by_its_share_of_both() -> None:
    # Three turns in the old context: between 1, stretched fully, and 5, not stretched.
    rope = Rope(
        1.0,
        "llama3",
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 5.0,
            "original_max_position_embeddings": 6 * np.pi,
        },
    )

    assert rotary_factors(rope, 2).tolist() == pytest.approx([1 / (0.5 / 8 + 0.5)])
