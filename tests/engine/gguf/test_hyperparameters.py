"""config.json in all its forms, and settings that llama.cpp would compute wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine.gguf.conftest import Make

from enginix.checkpoint.load import open_checkpoint
from enginix.engine.gguf.hyperparameters import Hyperparameters, read_hyperparameters
from enginix.errors import CheckpointDamaged, CheckpointUnsupported

YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def read(checkpoint: Path) -> Hyperparameters:
    return read_hyperparameters(open_checkpoint(checkpoint))


def without(checkpoint: Path, key: str) -> Path:
    path = checkpoint / "config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    return checkpoint


def test_the_sizes_are_those_of_the_config(make: Make) -> None:
    model = read(make(heads=6, kv_heads=2, head_dim=32, layers=3))

    assert (model.heads, model.kv_heads, model.head_dim, model.layers) == (6, 2, 32, 3)


@pytest.mark.parametrize("transformers", [4, 5])
def test_both_names_of_the_expert_count_are_read(transformers: int, make: Make) -> None:
    model = read(make(architecture="qwen3moe", transformers=transformers, experts=4))

    assert model.experts
    assert (model.experts.count, model.experts.used) == (4, 2)


@pytest.mark.parametrize("transformers", [4, 5])
def test_both_places_of_the_rotary_base_are_read(transformers: int, make: Make) -> None:
    assert read(make(transformers=transformers)).rope.theta == 1000000.0


def test_the_head_size_defaults_to_its_share_of_the_hidden_size(make: Make) -> None:
    assert read(without(make(hidden=192, heads=4), "head_dim")).head_dim == 48


def test_every_head_has_its_own_keys_by_default(make: Make) -> None:
    assert read(without(make(heads=4), "num_key_value_heads")).kv_heads == 4


def test_an_integer_rotary_base_is_accepted(make: Make) -> None:
    assert read(make(config={"rope_theta": 500000})).rope.theta == 500000.0


def test_rotary_scaling_of_transformers_4_is_read(make: Make) -> None:
    rope = read(make(config={"rope_scaling": YARN})).rope

    assert (rope.type, rope.scaling["factor"]) == ("yarn", 4.0)


def test_rotary_scaling_of_transformers_5_is_read(make: Make) -> None:
    table = {**YARN, "rope_type": "yarn", "rope_theta": 10000.0}
    rope = read(make(config={"rope_parameters": table, "rope_theta": None})).rope

    assert (rope.type, rope.theta) == ("yarn", 10000.0)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "'llama3'"),
        ({"rope_scaling": {**YARN, "attention_factor": 1.5}}, "attention_factor 1.5"),
        ({"partial_rotary_factor": 0.5}, "a part of each head"),
        ({"rope_parameters": {"partial_rotary_factor": 0.25}}, "a part of each head"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "each type of layer"),
    ],
)
def test_what_llama_cpp_would_leave_out_is_refused(
    config: dict[str, object], named: str, make: Make
) -> None:
    with pytest.raises(CheckpointUnsupported, match=r"which llama\.cpp does not compute") as caught:
        read(make(config=config))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"norm_topk_prob": False}, "norm_topk_prob"),
        ({"mlp_only_layers": [0]}, "mlp_only_layers"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step"),
    ],
)
def test_experts_that_llama_cpp_mixes_differently_are_refused(
    config: dict[str, object], named: str, make: Make
) -> None:
    with pytest.raises(CheckpointUnsupported, match=named):
        read(make(config=config, architecture="qwen3moe"))


def test_an_unknown_architecture_is_refused_with_the_known_ones(make: Make) -> None:
    with pytest.raises(
        CheckpointUnsupported, match="MambaForCausalLM, but the gguf kind runs Qwen3"
    ):
        read(make(config={"architectures": ["MambaForCausalLM"]}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", None),
        ("num_hidden_layers", "two"),
        ("num_attention_heads", 0),
        ("vocab_size", True),
        ("rms_norm_eps", "small"),
        ("rms_norm_eps", float("nan")),
        ("rope_theta", -1.0),
        ("rope_scaling", "yarn"),
        ("rope_scaling", {"rope_type": "linear"}),
        ("max_position_embeddings", 2**40),
    ],
)
def test_a_wrong_value_is_named_with_its_key(key: str, value: object, make: Make) -> None:
    with pytest.raises(CheckpointDamaged, match=r"config\.json: \w+: expected a") as caught:
        read(make(config={key: value}))
    assert key in str(caught.value) or "factor" in str(caught.value)
