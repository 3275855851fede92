"""Every form of stating a quantization is read into one Quantization, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoint.files import write_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.load import read_config
from enginix.checkpoint.quantization import QuantizationFound, read_quantization
from enginix.errors import CheckpointDamaged, EnginixError
from enginix.manifest import Quantization

RECORDINGS = Path(__file__).parent.parent / "recordings" / "hf_quant_config"

MIXED_LAYERS = {
    "model.layers.0.mlp.experts": Quantization("W4A16_NVFP4", None, 16),
    "model.layers.0.self_attn.q_proj": Quantization("FP8"),
    "lm_head": Quantization("NVFP4", None, 16),
}
NEMOTRON_EXCLUDES = ["lm_head", "backbone.layers.4.mixer.in_proj", "backbone.layers.0.mixer.conv1d"]
NVFP4 = Quantization("NVFP4", "FP8", 16, ["lm_head"])

RECORDED = {
    "none": QuantizationFound(Quantization(None)),
    "modelopt-legacy-nvfp4": QuantizationFound(
        Quantization("NVFP4", "FP8", 16, NEMOTRON_EXCLUDES), "modelopt"
    ),
    "modelopt-legacy-fp8": QuantizationFound(
        Quantization("FP8", None, None, ["lm_head"]), "modelopt"
    ),
    "modelopt-legacy-fp8-blocks": QuantizationFound(
        Quantization("FP8_BLOCK_SCALES", None, 128, ["lm_head"]), "modelopt"
    ),
    "modelopt-legacy-awq": QuantizationFound(
        Quantization("W4A16_AWQ", None, 128, ["lm_head"]), "modelopt"
    ),
    "modelopt-inline-nvfp4": QuantizationFound(NVFP4, "modelopt"),
    "modelopt-inline-early": QuantizationFound(
        Quantization("FP8", "FP8", None, ["lm_head"]), "modelopt"
    ),
    "modelopt-inline-nested": QuantizationFound(NVFP4, "modelopt"),
    "modelopt-mixed": QuantizationFound(
        Quantization("MIXED_PRECISION", "FP8", None, ["mtp*"]), "modelopt", MIXED_LAYERS
    ),
    "modelopt-mixed-beside": QuantizationFound(
        Quantization("MIXED_PRECISION", "FP8"), "modelopt", MIXED_LAYERS
    ),
    "compressed-tensors-nvfp4": QuantizationFound(
        Quantization("NVFP4", None, 16, ["lm_head"]), "compressed-tensors"
    ),
    "compressed-tensors-mixed": QuantizationFound(
        Quantization("MIXED_PRECISION", "FP8", None, ["lm_head"]),
        "compressed-tensors",
        {
            "re:.*experts.*": Quantization("NVFP4", None, 16),
            "re:.*self_attn.*": Quantization("FP8_PER_CHANNEL_PER_TOKEN"),
        },
    ),
    "fp8-blocks": QuantizationFound(
        Quantization("FP8_BLOCK_SCALES", None, 128, ["lm_head"]), "fp8"
    ),
    "fp8-blocks-modelopt-experts": QuantizationFound(
        Quantization(
            "MIXED_PRECISION", None, 16, ["*.attn.*", "*.ffn.shared_experts.*", "head", "mtp.*"]
        ),
        "modelopt",
        {f"layers.{index}.ffn.experts": Quantization("NVFP4", None, 16) for index in range(2)},
    ),
    "compressed-tensors-mxfp4": QuantizationFound(
        Quantization("W4A16_MXFP4", None, 32, ["re:.*self_attn.*", "re:.*lm_head.*"]),
        "compressed-tensors",
        stores_input_scales=False,
    ),
    "mxfp4": QuantizationFound(
        Quantization("W4A16_MXFP4", None, 32, ["model.layers.*.self_attn", "lm_head"]), "mxfp4"
    ),
    "gptq": QuantizationFound(Quantization("W4A16_GPTQ", None, 128), "gptq"),
}


def read(directory: Path) -> QuantizationFound:
    return read_quantization(directory, read_config(directory))


def stated(tmp_path: Path, *, inline: Any = None, legacy: Any = None, layers: Any = None) -> Path:
    """A directory that states its quantization in the given files."""
    config = {} if inline is None else {"quantization_config": inline}
    write_json(tmp_path / "config.json", config)
    if legacy is not None:
        write_json(tmp_path / "hf_quant_config.json", legacy)
    if layers is not None:
        write_json(tmp_path / "quant_cfg.json", layers)
    return tmp_path


@pytest.mark.parametrize(
    "name", sorted(path.name for path in RECORDINGS.iterdir() if path.is_dir())
)
def test_every_recorded_form_is_read(name: str) -> None:
    assert read(RECORDINGS / name) == RECORDED[name]


def test_the_shipped_checkpoint_states_it_twice_and_agrees() -> None:
    assert read(DIRECTORY / "checkpoints/demo") == QuantizationFound(
        Quantization("NVFP4", "FP8", 16, ["lm_head", "model.embed_tokens"]), "modelopt"
    )


def test_the_language_models_part_of_a_multimodal_config_is_read(tmp_path: Path) -> None:
    inline = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    write_json(tmp_path / "config.json", {"text_config": {"quantization_config": inline}})
    assert read(tmp_path).quantization == Quantization("NVFP4", None, 16)


def test_weight_only_nvfp4_is_distinguished_from_nvfp4(tmp_path: Path) -> None:
    groups = {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}
    inline = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert read(stated(tmp_path, inline=inline)).quantization.algo == "W4A16_NVFP4"


def test_layers_without_an_algorithm_are_mixed_precision(tmp_path: Path) -> None:
    layers = {"lm_head": {"quant_algo": "FP8"}}
    legacy = {"quantization": {"quant_algo": None, "quantized_layers": layers}}
    found = read(stated(tmp_path, legacy=legacy))
    assert found.quantization.algo == "MIXED_PRECISION"
    assert found.layers == {"lm_head": Quantization("FP8")}


def test_a_quantized_kv_cache_alone_is_kept(tmp_path: Path) -> None:
    legacy = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    assert read(stated(tmp_path, legacy=legacy)) == QuantizationFound(Quantization(None, "FP8"))


def test_a_value_stated_by_only_one_form_is_used(tmp_path: Path) -> None:
    legacy = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    inline = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
    found = read(stated(tmp_path, inline=inline, legacy=legacy))
    assert found.quantization == Quantization("NVFP4", "FP8", 16, ["lm_head"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quant_algo": "FP8"}, "about the algorithm: FP8 and NVFP4"),
        ({"kv_cache_quant_algo": "INT8"}, "about the KV cache algorithm: INT8 and FP8"),
        ({"group_size": 32}, "about the group size: 32 and 16"),
        ({"exclude_modules": ["a"]}, r"about the excluded modules: \['a'\] and \['lm_head'\]"),
    ],
)
def test_two_forms_that_contradict_each_other_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    nested = json.loads((RECORDINGS / "modelopt-inline-nested/config.json").read_text())
    inline = nested["quantization_config"]
    legacy = {"quantization": inline["quantization"] | change}
    with pytest.raises(CheckpointDamaged, match=message):
        read(stated(tmp_path, inline=inline, legacy=legacy))


def test_two_forms_that_contradict_each_other_about_a_layer_are_refused(tmp_path: Path) -> None:
    inline, legacy = (
        {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"lm_head": {"quant_algo": algo}}}
        for algo in ("FP8", "NVFP4")
    )
    with pytest.raises(CheckpointDamaged, match="about the layer lm_head: NVFP4 and FP8"):
        read(stated(tmp_path, inline=inline, legacy={"quantization": legacy}))


def test_a_layers_file_with_another_kv_cache_is_refused(tmp_path: Path) -> None:
    legacy = {"quantization": {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8"}}
    layers = {"kv_cache_quant_algo": "INT8", "quantized_layers": {}}
    with pytest.raises(
        CheckpointDamaged, match=r"KV cache is FP8, quant_cfg\.json that it is INT8"
    ):
        read(stated(tmp_path, legacy=legacy, layers=layers))


@pytest.mark.parametrize(
    ("inline", "message"),
    [
        ("NVFP4", "quantization_config: expected an object"),
        ({"quant_method": 4}, "expected a name such as 'modelopt', got 4"),
        ({}, "expected a name such as 'modelopt', got None"),
        ({"quant_algo": 4}, "quant_algo: expected a name or null, got 4"),
        ({"quant_method": "modelopt", "ignore": "lm_head"}, "ignore: expected a list of names"),
        ({"quant_method": "modelopt", "config_groups": [1]}, "config_groups: expected an object"),
        ({"quant_algo": "NVFP4", "group_size": "16"}, "group_size: expected a positive integer"),
        ({"quant_algo": "NVFP4", "group_size": -16}, "group_size: expected a positive integer"),
        ({"quant_algo": "NVFP4", "kv_cache_scheme": {"num_bits": 2}}, "got None 2"),
        ({"quant_algo": "X", "quantized_layers": [1]}, "quantized_layers: expected an object"),
        ({"quant_algo": "X", "quantized_layers": {"a": 1}}, "quantized_layers: a: expected an"),
        ({"quant_method": "compressed-tensors"}, "config_groups: expected at least one group"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "expected two sizes"),
    ],
)
def test_an_invalid_statement_is_refused(tmp_path: Path, inline: object, message: str) -> None:
    with pytest.raises(CheckpointDamaged, match=message):
        read(stated(tmp_path, inline=inline))


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00", "[" * 100000, '{"quantization": 3}'])
def test_a_broken_legacy_file_is_refused(tmp_path: Path, content: str) -> None:
    stated(tmp_path)
    (tmp_path / "hf_quant_config.json").write_text(content)
    with pytest.raises(CheckpointDamaged, match=r"hf_quant_config\.json"):
        read(tmp_path)


KEYS = [
    "quant_method",
    "quant_algo",
    "kv_cache_scheme",
    "kv_cache_quant_algo",
    "group_size",
    "bits",
    "ignore",
    "quantization",
    "quantized_layers",
    "config_groups",
    "weights",
    "input_activations",
    "targets",
    "strategy",
    "type",
    "num_bits",
    "weight_block_size",
]
VALUES = ["modelopt", "compressed-tensors", "fp8", "mxfp4", "gptq", "NVFP4", "float", "block", 4, 8]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(VALUES) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(inline=st.dictionaries(st.sampled_from(KEYS), anything), legacy=anything)
def test_any_statement_is_read_or_refused(tmp_path: Path, inline: object, legacy: object) -> None:
    stated(tmp_path, inline=inline, legacy={"quantization": legacy})
    try:
        read(tmp_path)
    except EnginixError:
        return
