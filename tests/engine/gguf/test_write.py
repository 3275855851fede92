"""A GGUF holds the checkpoint's values, is deterministic, and needs little memory to write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine.gguf.conftest import Make
from engine.gguf.values import checkpoint_values, ggml_rotary_order, gguf_values
from fakes.made_checkpoint import DEMO, make_checkpoint, shape_of_size

from enginix.checkpoint.load import open_checkpoint
from enginix.engine.gguf.build import read_plan, write_model
from enginix.errors import CheckpointDamaged

Write = Callable[[Path], Path]

LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def expected_values(checkpoint: Path) -> dict[str, np.ndarray]:
    """The tensors llama.cpp must find, by its names, computed from the checkpoint's values."""
    values = checkpoint_values(checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    found = {
        "token_embd.weight": values["model.embed_tokens.weight"],
        "output_norm.weight": values["model.norm.weight"],
    }
    if "lm_head.weight" in values:
        found["output.weight"] = values["lm_head.weight"]
    for layer in range(config["num_hidden_layers"]):
        for source, target in LAYER.items():
            at, to = f"model.layers.{layer}.{source}", f"blk.{layer}.{target}"
            if f"{at}.weight" not in values:
                continue
            weight = values[f"{at}.weight"]
            if config["model_type"] == "llama" and source[-6:] in heads:
                weight = ggml_rotary_order(weight, heads[source[-6:]])
            found[f"{to}.weight"] = weight
            if f"{at}.weight_scale_2" in values:
                found[f"{to}.scale"] = values[f"{at}.weight_scale_2"].reshape(1)
                found[f"{to}.input_scale"] = values[f"{at}.input_scale"].reshape(1)
        found |= _expert_values(values, layer, config.get("num_experts", 0))
    return found


def _expert_values(values: dict[str, np.ndarray], layer: int, count: int) -> dict[str, np.ndarray]:
    found = {}
    for part in ("gate", "up", "down") if count else ():
        names = [
            f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj" for expert in range(count)
        ]
        to = f"blk.{layer}.ffn_{part}_exps"
        for source, target in (
            ("weight", "weight"),
            ("weight_scale_2", "scale"),
            ("input_scale", "input_scale"),
        ):
            if f"{names[0]}.{source}" in values:
                found[f"{to}.{target}"] = np.stack([values[f"{name}.{source}"] for name in names])
    return found


@pytest.mark.parametrize("weights", ["nvfp4", "bf16", "fp16"])
@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe", "llama"])
def test_a_gguf_holds_exactly_the_checkpoints_numbers(
    architecture: str, weights: str, make: Make, write: Write
) -> None:
    checkpoint = make(
        architecture=architecture, weights=weights, hidden=128, heads=4, head_dim=32, layers=2
    )

    found = gguf_values(write(checkpoint))

    expected = expected_values(checkpoint)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_demo_checkpoint_is_repacked_exactly(write: Write) -> None:
    found, expected = gguf_values(write(DEMO)), expected_values(DEMO)

    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], values) for name, values in expected.items())


def test_shards_give_the_same_bytes_as_one_file(make: Make, write: Write) -> None:
    # The tensors are drawn in one order, so sharding does not change the weights.
    one, many = make(architecture="qwen3moe"), make(architecture="qwen3moe", shards=4)

    assert len(list(many.glob("*.safetensors"))) == 4
    assert write(one).read_bytes() == write(many).read_bytes()


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe", "llama"])
def test_both_forms_of_config_give_the_same_bytes(
    architecture: str, make: Make, write: Write
) -> None:
    old = make(architecture=architecture, transformers=4)
    new = make(architecture=architecture, transformers=5)

    assert (old / "config.json").read_text() != (new / "config.json").read_text()
    assert write(old).read_bytes() == write(new).read_bytes()


def test_the_checkpoints_path_leaves_no_trace(make: Make, write: Write, tmp_path: Path) -> None:
    checkpoint = make()
    elsewhere = shutil.copytree(checkpoint, tmp_path / "another-name")

    assert write(checkpoint).read_bytes() == write(elsewhere).read_bytes()


def test_tied_embeddings_are_written_once(make: Make, write: Write) -> None:
    found = gguf_values(write(make(tied=True)))

    assert "output.weight" not in found


def test_a_matrix_larger_than_a_slab_is_whole(make: Make, write: Write) -> None:
    checkpoint = make(architecture="llama", weights="bf16", vocab=2048, hidden=512, layers=1)

    found, expected = gguf_values(write(checkpoint)), expected_values(checkpoint)

    assert all(np.array_equal(found[name], values) for name, values in expected.items())


def overwrite(checkpoint: Path, name: str, data: bytes) -> None:
    """Put `data` over the first bytes of a tensor."""
    tensor = open_checkpoint(checkpoint).tensors[name]
    with tensor.file.open("r+b") as file:
        file.seek(tensor.start)
        file.write(data)


@pytest.mark.parametrize("code", [0x7F, 0x81, 0xFF])
def test_a_scale_that_is_no_positive_number_is_refused(code: int, make: Make, write: Write) -> None:
    checkpoint = make()
    overwrite(checkpoint, "model.layers.1.mlp.up_proj.weight_scale", bytes([code]))

    with pytest.raises(CheckpointDamaged, match=r"up_proj\.weight_scale' holds scales that are"):
        write(checkpoint)


@pytest.mark.parametrize(("weights", "bits"), [("bf16", 0x7F80), ("fp16", 0x7C01)])
def test_a_weight_that_is_no_number_is_refused(
    weights: str, bits: int, make: Make, write: Write
) -> None:
    checkpoint = make(weights=weights)
    overwrite(checkpoint, "model.embed_tokens.weight", bits.to_bytes(2, "little"))

    with pytest.raises(CheckpointDamaged, match=r"embed_tokens\.weight' holds numbers that are"):
        write(checkpoint)


def test_a_file_cut_between_header_and_weights_is_refused(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    plan = read_plan(checkpoint)
    os.truncate(checkpoint / "model.safetensors", 100_000)

    with pytest.raises(CheckpointDamaged, match="became shorter while it was read"):
        write_model(plan, "test", tmp_path / "model.gguf", lambda size: None)


def test_progress_ends_at_the_size_of_all_tensors(make: Make, tmp_path: Path) -> None:
    plan = read_plan(make())
    sizes: list[int] = []

    write_model(plan, "test", tmp_path / "model.gguf", sizes.append)

    assert sum(sizes) == plan.size_bytes


# ru_maxrss would include pytest's peak, which exec inherits.
WRITE_AND_MEASURE = """
import sys
from pathlib import Path
from enginix.engine.stages import peak_memory
from enginix.engine.gguf.build import read_plan, write_model
write_model(read_plan(Path(sys.argv[1])), "test", Path(sys.argv[2]), lambda size: None)
print(peak_memory())
"""


def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    shape = replace(shape_of_size(500), shards=3)
    checkpoint = make_checkpoint(tmp_path / "large", shape)
    try:
        done = subprocess.run(
            [sys.executable, "-c", WRITE_AND_MEASURE, checkpoint, tmp_path / "large.gguf"],
            check=True,
            capture_output=True,
        )
        assert (tmp_path / "large.gguf").stat().st_size > 480_000_000
        # The largest tensor is 67 MB; the limit is 300 MB above that, enough for a few slabs.
        assert int(done.stdout) < 150_000_000
    finally:
        # pytest keeps the directories of three runs.
        shutil.rmtree(checkpoint)
        (tmp_path / "large.gguf").unlink(missing_ok=True)
