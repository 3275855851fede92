"""Missing, misshapen and impossible tensors are found before a build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoint.files import write_json
from checkpoint.models import (
    EXPERTS,
    HIDDEN,
    LINEAR,
    MLP,
    MODELS,
    NVFP4,
    Tensors,
    around,
    config,
    layer,
    llama,
    number,
    nvfp4,
    plain,
    qwen3,
    write_model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.architecture import sliding_window
from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.errors import CheckpointDamaged, CheckpointUnsupported, EnginixError
from enginix.manifest import KINDS, Limits

DEMO = DIRECTORY / "checkpoints/demo"
Q0 = "model.layers.0.self_attn.q_proj"
LLAMA = "LlamaForCausalLM"
DENSE = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}


def inspected(directory: Path, ranks: int = 1, **options: Any) -> Inspection:
    return inspect_checkpoint(open_checkpoint(directory), tensor_parallel=ranks, **options)


def inspect_llama(
    tmp_path: Path, changes: dict[str, Any], ranks: int = 1, **settings: Any
) -> Inspection:
    """A quantized Llama with tensors replaced, or removed if the change is None."""
    tensors: Tensors = llama(quantized=True) | changes
    tensors = {name: value for name, value in tensors.items() if value is not None}
    write_model(tmp_path, config(LLAMA, **settings), tensors, quantized=True)
    return inspected(tmp_path, ranks)


def plain_layers(found: Inspection) -> list[str]:
    """Linear layers that are not quantized."""
    return [layer.name for layer in found.layers if found.algorithms[layer.name] is None]


def test_the_shipped_checkpoint_is_sound() -> None:
    found = inspected(DEMO)
    assert (found.damage, found.notes) == ((), ())
    assert found.refusals("gguf") == []
    assert plain_layers(found) == ["lm_head"]


def test_every_engine_kind_gets_a_verdict() -> None:
    assert tuple(inspected(DEMO).kinds) == KINDS


@pytest.mark.parametrize("quantized", [True, False], ids=["nvfp4", "bf16"])
@pytest.mark.parametrize("architecture", MODELS)
def test_a_complete_model_is_sound_and_has_no_unused_tensors(
    tmp_path: Path, architecture: str, quantized: bool
) -> None:
    tensors, settings = MODELS[architecture]
    write_model(tmp_path, config(architecture, **settings), tensors(quantized), quantized)
    found = inspected(tmp_path)
    assert found.damage == ()
    assert [note for note in found.notes if "no scales" not in note] == []


@pytest.mark.parametrize("architecture", MODELS)
def test_any_missing_tensor_is_found(tmp_path: Path, architecture: str) -> None:
    tensors, settings = MODELS[architecture]
    whole = tensors(True)
    # One of each kind: the second layer's, and those outside the layers.
    for name in [name for name in whole if "layers.0." not in name]:
        rest = {key: value for key, value in whole.items() if key != name}
        write_model(tmp_path, config(architecture, **settings), rest, quantized=True)
        assert any(name in sentence for sentence in inspected(tmp_path).damage), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{Q0}.weight": plain(128, 128)}, f"{Q0} is stored as BF16, but the checkpoint states"),
        ({f"{Q0}.weight": plain(128, 128, dtype="U8")}, "has shape [128, 128], expected [128, 64]"),
        ({f"{Q0}.weight": plain(64, 64, dtype="U8")}, "has shape [64, 64], expected [128, 64]"),
        ({f"{Q0}.weight": plain(128, 64, dtype="I8")}, "is I8, expected U8 for NVFP4"),
        ({f"{Q0}.weight_scale": plain(128, 4, dtype="F8_E4M3")}, "[128, 4], expected [128, 8]"),
        ({f"{Q0}.weight_scale": plain(128, 8)}, "is BF16, expected F8_E4M3 for NVFP4"),
        ({f"{Q0}.weight_scale_2": plain(2, dtype="F32")}, "has shape [2], expected []"),
        ({f"{Q0}.input_scale": None}, "input_scale is missing, expected for NVFP4"),
        ({f"{Q0}.input_scale": number(float("nan"))}, "input_scale is nan, expected a number ab"),
        ({f"{Q0}.weight_scale_2": number(0.0)}, "weight_scale_2 is 0, expected a number above 0"),
        ({f"{Q0}.weight_scale_2": number(-1.0)}, "is -1, expected a number above 0"),
        ({f"{Q0}.weight_scale_2": number(float("inf"))}, "is inf, expected a number above 0"),
        ({"model.layers.1.self_attn.k_proj.k_scale": None}, "k_scale is missing, but other layers"),
        ({"model.layers.1.self_attn.k_proj.k_scale": number(0)}, "k_scale is 0, expected"),
        ({"model.layers.1.self_attn.v_proj.v_scale": plain(3)}, "is BF16 [3], expected one F32"),
        ({"model.norm.weight": plain(64)}, "model.norm.weight has shape [64], expected [128]"),
        ({"model.norm.weight": plain(128, dtype="U8")}, "model.norm.weight is U8, expected one of"),
        ({"lm_head.weight": plain(64, 64, dtype="U8")}, "lm_head.weight is U8, expected BF16"),
    ],
)
def test_a_wrong_tensor_is_damage(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    found = inspect_llama(tmp_path, changes)
    assert len(found.damage) == 1
    assert message in found.damage[0]
    assert found.usable_by == []


def test_the_same_finding_in_many_layers_is_one_sentence(tmp_path: Path) -> None:
    name = "self_attn.q_proj.input_scale"
    found = inspect_llama(tmp_path, {f"model.layers.{i}.{name}": None for i in range(2)})
    assert found.damage == (
        "model.layers.0.self_attn.q_proj.input_scale and 1 more: is missing, expected for NVFP4",
    )


def test_scales_of_one_number_may_have_any_shape_of_one_number(tmp_path: Path) -> None:
    dtype, _, data = number(0.5)
    assert inspect_llama(tmp_path, {f"{Q0}.weight_scale_2": (dtype, [1, 1], data)}).damage == ()


def test_a_checkpoint_whose_quantization_was_lost_is_damaged(tmp_path: Path) -> None:
    write_model(tmp_path, config(LLAMA), llama(quantized=True), quantized=False)
    assert (
        "is U8, expected BF16 or F16 or F32 for a layer that is not"
        in inspected(tmp_path).damage[0]
    )


def test_unused_tensors_are_noted(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {"model.layers.0.self_attn.rotary_emb.inv_freq": plain(16)})
    assert found.damage == ()
    assert found.notes == (
        "model.layers.0.self_attn.rotary_emb.inv_freq is not part of LlamaForCausalLM and not used",
    )


def test_a_kv_cache_without_any_scales_is_noted(tmp_path: Path) -> None:
    tensors = llama(quantized=True)
    gone = {name: None for name in tensors if name.endswith(("k_scale", "v_scale"))}
    found = inspect_llama(tmp_path, gone)
    assert found.damage == ()
    assert found.notes == (
        "the KV cache is FP8, but no scales for it are stored: runtimes use 1.0",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers: expected a positive integer, got None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected a positive integer, got 0"),
        ({"hidden_size": "128"}, "hidden_size: expected a positive integer, got '128'"),
        ({"num_key_value_heads": 0}, "num_key_value_heads: expected a positive integer, got 0"),
        ({"vocab_size": True}, "vocab_size: expected a positive integer, got True"),
    ],
)
def test_an_impossible_configuration_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointDamaged, match=message):
        inspect_llama(tmp_path, {}, **settings)


NUMBERS = [name for name, value in config(LLAMA).items() if isinstance(value, int)]
OTHERS = ["mlp_only_layers", "decoder_sparse_step", "num_experts", "moe_intermediate_size"]
OTHERS += ["attention_bias", "text_config", "shared_expert_intermediate_size", "mlp_bias"]

odd_values = (
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.integers()
    | st.text(max_size=2)
    | st.lists(st.integers(0, 2), max_size=2)
    | st.dictionaries(st.sampled_from(NUMBERS), st.integers(0, 3), max_size=3)
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    architecture=st.sampled_from([*MODELS, "Unheard"]),
    changes=st.dictionaries(st.sampled_from(NUMBERS + OTHERS), odd_values, max_size=3),
    ranks=st.integers(1, 9),
)
def test_any_configuration_is_inspected_or_refused(
    tmp_path: Path, architecture: str, changes: dict[str, Any], ranks: int
) -> None:
    tensors, special = MODELS.get(architecture, MODELS[LLAMA])
    stated = config(architecture, **{**special, **changes})
    write_model(tmp_path, stated, tensors(True), quantized=True)
    try:
        inspected(tmp_path, ranks)
    except EnginixError:
        return


def test_absurdly_many_layers_are_refused_at_once(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {}, num_hidden_layers=10**11)
    assert "states 100000000000 layers, but the files hold only" in found.damage[0]


def test_a_third_layer_that_only_the_configuration_knows_is_missing(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {}, num_hidden_layers=3)
    assert any("model.layers.2.self_attn.q_proj.weight" in line for line in found.damage)


def test_a_third_layer_that_the_configuration_does_not_count_is_damage(tmp_path: Path) -> None:
    more = {f"model.layers.2.{name}.weight": plain(8) for name in ("input_layernorm", "mlp.up")}
    found = inspect_llama(tmp_path, more)
    assert found.damage == (
        "model.layers.2.input_layernorm.weight and 1 more: is of a further layer, but config.json "
        "states 2",
    )


def test_a_tied_output_head_needs_no_tensor(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {"lm_head.weight": None}, tie_word_embeddings=True)
    assert (found.damage, found.notes) == ((), ())


@pytest.mark.parametrize(
    ("architecture", "settings", "window"),
    [
        ("MistralForCausalLM", {"sliding_window": 4096}, 4096),
        ("MistralForCausalLM", {"sliding_window": None}, None),
        ("Qwen3ForCausalLM", {"sliding_window": 4096}, None),
        ("Qwen3ForCausalLM", {"sliding_window": 4096, "use_sliding_window": False}, None),
        ("Qwen3ForCausalLM", {"sliding_window": 4096, "use_sliding_window": True}, 4096),
        ("LlamaForCausalLM", {"sliding_window": 4096}, None),
        # Its converter passes the windows of its layers to the runtime.
        ("Gemma3ForCausalLM", {"sliding_window": 512}, None),
    ],
)
def test_a_sliding_window_is_read_as_the_model_uses_it(
    architecture: str, settings: dict[str, Any], window: int | None
) -> None:
    assert sliding_window(architecture, settings) == window


def test_a_tied_qwen3_head_gets_a_warning_for_tensorrt_llm(tmp_path: Path) -> None:
    settings = config("Qwen3ForCausalLM", tie_word_embeddings=True)
    write_model(tmp_path, settings, qwen3(quantized=False), quantized=False)
    assert "tied to the embedding" in inspected(tmp_path).kinds["tensorrt-llm"].doubts[0]


def test_transformers_5_names_of_experts_are_read(tmp_path: Path) -> None:
    tensors, _ = MODELS["Qwen3MoeForCausalLM"]
    settings = {"num_local_experts": EXPERTS, "moe_intermediate_size": 128}
    write_model(tmp_path, config("Qwen3MoeForCausalLM", **settings), tensors(True), quantized=True)
    assert inspected(tmp_path).damage == ()


def test_layers_without_experts_among_those_with_are_known(tmp_path: Path) -> None:
    tensors, settings = MODELS["Qwen3MoeForCausalLM"]
    dense = {name: value for name, value in tensors(True).items() if "layers.0.mlp" not in name}
    for name, shape in MLP.items():
        dense |= nvfp4(f"model.layers.0.{name}", *shape)
    both = config("Qwen3MoeForCausalLM", **settings, mlp_only_layers=[0])
    write_model(tmp_path, both, dense, quantized=True)
    assert inspected(tmp_path).damage == ()


def test_layers_excluded_by_pattern_may_be_plain(tmp_path: Path) -> None:
    layers = [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    tensors = llama(quantized=True)
    for name in layers:
        rows, columns = tensors[f"{name}.weight_scale"][1]
        for suffix in ("weight_scale", "weight_scale_2", "input_scale"):
            del tensors[f"{name}.{suffix}"]
        tensors[f"{name}.weight"] = plain(rows, columns * 16)
    write_model(tmp_path, config(LLAMA), tensors, quantized=True)
    exclude = NVFP4["quantization"] | {"exclude_modules": ["lm_head", "model.layers.0.self_attn*"]}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": exclude})
    found = inspected(tmp_path)
    assert found.damage == ()
    assert plain_layers(found) == [*layers, "lm_head"]


def test_each_layer_of_a_mixed_checkpoint_is_checked_by_its_own_algorithm(tmp_path: Path) -> None:
    tensors = llama(quantized=True)
    for index in range(2):
        name = f"model.layers.{index}.self_attn.o_proj"
        del tensors[f"{name}.weight_scale_2"]
        tensors[f"{name}.weight"] = plain(HIDDEN, 128, dtype="F8_E4M3")
        tensors[f"{name}.weight_scale"] = number(0.5)
    write_model(tmp_path, config(LLAMA), tensors, quantized=True)
    names = {name.rpartition(".")[0] for name in tensors if "_proj.weight" in name}
    layers = {name: {"quant_algo": "FP8" if name.endswith("o_proj") else "NVFP4"} for name in names}
    stated = NVFP4["quantization"] | {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    found = inspected(tmp_path)
    assert found.damage == ()
    assert found.algorithms["model.layers.1.self_attn.o_proj"] == "FP8"
    assert "not MIXED_PRECISION" in found.refusals("tensorrt-llm")[0]


@pytest.mark.parametrize("spelling", ["FP8_BLOCK_SCALES", "FP8_PB_WO", "fp8_pb_wo", "FP8_PB"])
@pytest.mark.parametrize(
    ("suffix", "shape"),
    [
        ("weight_scale_inv", (2, 2)),
        ("weight_scale", (2, 2)),
        ("weight_scale", (2, 1, 2, 1)),
    ],
)
@pytest.mark.parametrize("block", [128, 64])
def test_fp8_blocks_of_a_mixed_checkpoint_have_scales_in_any_of_modelopts_spellings(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], spelling: str, block: int
) -> None:
    name, size = "mtp.layers.0.mlp.experts.0.up_proj", 2 * block
    tensors: Tensors = {
        f"{name}.weight": plain(size, size, dtype="F8_E4M3"),
        f"{name}.{suffix}": plain(*shape, dtype="F32"),
    }
    layers = {"mtp.layers.0.mlp.experts": {"quant_algo": spelling, "group_size": block}}
    stated = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    write_model(tmp_path, {"architectures": ["NewForCausalLM"]}, tensors, quantized=True)
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})

    found = inspected(tmp_path)

    assert found.damage == ()
    assert found.algorithms == {name: "FP8_BLOCK_SCALES"}

    tensors[f"{name}.{suffix}"] = plain(3, 2, dtype="F32")
    write_model(tmp_path, {"architectures": ["NewForCausalLM"]}, tensors, quantized=True)
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    assert f"{suffix} has shape [3, 2], expected [2, 2]" in inspected(tmp_path).damage[0]


def test_fp8_blocks_without_scales_in_any_spelling_are_damaged(tmp_path: Path) -> None:
    name = "mtp.layers.0.mlp.experts.0.up_proj"
    tensors: Tensors = {f"{name}.weight": plain(256, 256, dtype="F8_E4M3")}
    # Another suffix by which the layer is found.
    tensors[f"{name}.input_scale"] = number(1.0)
    stated = {"quant_algo": "FP8_BLOCK_SCALES"}
    write_model(tmp_path, {"architectures": ["NewForCausalLM"]}, tensors, quantized=True)
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})

    (damage,) = inspected(tmp_path).damage

    assert f"{name}.weight_scale is missing, expected for FP8_BLOCK_SCALES" in damage


def test_an_unknown_architecture_is_checked_as_far_as_its_tensors_allow(tmp_path: Path) -> None:
    settings = {"architectures": ["NemotronHForCausalLM"]}
    tensors = nvfp4("backbone.layers.0.mixer.up_proj", 64, 64)
    write_model(tmp_path, settings, tensors, quantized=True)
    found = inspected(tmp_path)
    assert found.damage == ()
    assert (
        "no TensorRT-LLM engine exists for NemotronHForCausalLM"
        in found.refusals("tensorrt-llm")[0]
    )
    assert found.usable_by == ["llmapi", "vllm"]
    assert found.estimate.kv_cache_one is None

    del tensors["backbone.layers.0.mixer.up_proj.input_scale"]
    write_model(tmp_path, settings, tensors, quantized=True)
    assert "up_proj.input_scale is missing" in inspected(tmp_path).damage[0]


def test_packed_layers_whose_quantization_no_file_states_are_damaged(tmp_path: Path) -> None:
    tensors = nvfp4("backbone.layers.0.mixer.up_proj", 64, 64)
    write_model(tmp_path, {"architectures": ["NemotronHForCausalLM"]}, tensors, quantized=False)
    assert "up_proj.weight is U8, but no file states how it is" in inspected(tmp_path).damage[0]


def test_a_wrong_exclusion_expression_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, config(LLAMA), llama(quantized=True), quantized=True)
    stated = NVFP4["quantization"] | {"exclude_modules": ["re:["]}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    with pytest.raises(CheckpointDamaged, match="names modules with an invalid expression"):
        inspected(tmp_path)


def with_widths(tmp_path: Path, ranks: int, *, intermediate: int) -> list[str]:
    """Refusals of a Llama with 8 key and value heads whose sizes exist only in its headers."""
    heads, hidden = 8, 1024
    settings = config(
        LLAMA,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=128,
        intermediate_size=intermediate,
        num_hidden_layers=1,
    )
    tensors: Tensors = {
        "model.embed_tokens.weight": plain(64, hidden),
        "model.norm.weight": plain(hidden),
        "lm_head.weight": plain(64, hidden),
        "model.layers.0.input_layernorm.weight": plain(hidden),
        "model.layers.0.post_attention_layernorm.weight": plain(hidden),
    }
    for name in "qkvo":
        tensors |= nvfp4(f"model.layers.0.self_attn.{name}_proj", heads * 128, hidden)
    for name in ("gate", "up"):
        tensors |= nvfp4(f"model.layers.0.mlp.{name}_proj", intermediate, hidden)
    tensors |= nvfp4("model.layers.0.mlp.down_proj", hidden, intermediate)
    found = inspected(write_model(tmp_path, settings, tensors, quantized=True), ranks)
    assert found.damage == ()
    return found.refusals("tensorrt-llm")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_widths_that_divide_into_whole_tiles_are_fine(tmp_path: Path, ranks: int) -> None:
    assert with_widths(tmp_path, ranks, intermediate=2048) == []


def test_tiles_of_block_scales_that_are_not_full_are_refused(tmp_path: Path) -> None:
    assert with_widths(tmp_path, 4, intermediate=768) == [
        "gate_proj, up_proj: 192 rows per rank, but TensorRT-LLM's block scales need a multiple "
        "of 128"
    ]
    assert with_widths(tmp_path, 2, intermediate=768) == []


def test_tiles_along_the_inputs_are_checked_too(tmp_path: Path) -> None:
    assert with_widths(tmp_path, 1, intermediate=1056)[0] == (
        "down_proj: 1056 columns per rank, but TensorRT-LLM's block scales need a multiple of 64"
    )


@pytest.mark.parametrize(
    ("ranks", "kind", "message"),
    [
        (3, "vllm", "tensor parallel 3 does not divide attention heads, 4"),
        (3, "llmapi", "does not divide the key and value heads, 2"),
        (3, "tensorrt-llm", "does not divide the MLP's intermediate size, 256"),
        (4, "tensorrt-llm", "tensor parallel 4 is more than the 2 key and value heads"),
        (2, "gguf", "llama.cpp runs in one process, not in 2 ranks"),
    ],
)
def test_ranks_that_do_not_fit_are_refused(
    tmp_path: Path, ranks: int, kind: str, message: str
) -> None:
    refusals = inspect_llama(tmp_path, {}, ranks).refusals(kind)
    assert any(message in sentence for sentence in refusals)


def test_key_and_value_heads_may_be_repeated_where_the_runtime_does(tmp_path: Path) -> None:
    assert inspect_llama(tmp_path, {}, 4).refusals("vllm") == []


def test_stacked_projections_with_different_scales_are_refused(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {f"{Q0}.weight_scale_2": number(0.75)})
    assert "differ in weight_scale_2" in found.refusals("tensorrt-llm")[-1]
    assert found.refusals("gguf") == []


@pytest.mark.parametrize("architecture", sorted(MODELS.keys() - DENSE))
def test_quantized_layers_that_no_build_knows_are_refused_for_tensorrt_llm(
    tmp_path: Path, architecture: str
) -> None:
    tensors, settings = MODELS[architecture]
    write_model(tmp_path, config(architecture, **settings), tensors(True), quantized=True)
    refusals = inspected(tmp_path).refusals("tensorrt-llm")
    assert any(f"lays out this {architecture}; use the engine kind" in each for each in refusals)


@pytest.mark.parametrize("architecture", sorted(MODELS.keys() - DENSE))
def test_plain_layers_of_any_known_model_are_built_by_tensorrt_llm(
    tmp_path: Path, architecture: str
) -> None:
    tensors, settings = MODELS[architecture]
    write_model(tmp_path, config(architecture, **settings), tensors(False), quantized=False)
    assert inspected(tmp_path).refusals("tensorrt-llm") == []


def test_biases_in_the_attention_are_refused_for_tensorrt_llm(tmp_path: Path) -> None:
    biases = {
        f"model.layers.{index}.{name}.bias": plain(rows)
        for index in range(2)
        for name, (rows, _) in LINEAR.items()
    }
    found = inspect_llama(tmp_path, biases, attention_bias=True)
    assert found.damage == ()
    assert "without additional biases" in found.refusals("tensorrt-llm")[0]


def test_a_kv_cache_that_no_build_takes_is_refused_for_tensorrt_llm(tmp_path: Path) -> None:
    inspect_llama(tmp_path, {})
    stated = NVFP4["quantization"] | {"kv_cache_quant_algo": "NVFP4"}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    assert "its KV cache is NVFP4, but" in inspected(tmp_path).refusals("tensorrt-llm")[0]


def test_partly_quantized_attention_is_refused_for_tensorrt_llm(tmp_path: Path) -> None:
    key = "model.layers.1.self_attn.k_proj"
    gone = {f"{key}.{suffix}": None for suffix in ("weight_scale", "weight_scale_2", "input_scale")}
    inspect_llama(tmp_path, {**gone, f"{key}.weight": plain(*LINEAR["self_attn.k_proj"])})
    stated = NVFP4["quantization"] | {"exclude_modules": ["lm_head", key]}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    found = inspected(tmp_path)
    assert found.damage == ()
    assert "only some of q_proj, k_proj, v_proj of" in found.refusals("tensorrt-llm")[0]


def test_inputs_not_divisible_by_64_are_refused_for_gguf(tmp_path: Path) -> None:
    narrow: Tensors = {}
    for index in range(2):
        mlp = f"model.layers.{index}.mlp"
        narrow |= nvfp4(f"{mlp}.gate_proj", 96, HIDDEN) | nvfp4(f"{mlp}.up_proj", 96, HIDDEN)
        narrow |= nvfp4(f"{mlp}.down_proj", HIDDEN, 96)
    found = inspect_llama(tmp_path, narrow, intermediate_size=96)
    assert found.damage == ()
    assert "down_proj has 96 inputs, but llama.cpp's NVFP4 blocks need" in found.refusals("gguf")[0]


def test_weight_only_nvfp4_cannot_become_a_tensorrt_llm_engine(tmp_path: Path) -> None:
    tensors = llama(quantized=True)
    gone = {name: None for name in tensors if name.endswith("input_scale")}
    found = inspect_llama(tmp_path, gone)
    assert "input_scale" in found.damage[0]

    stated = NVFP4["quantization"] | {"quant_algo": "W4A16_NVFP4"}
    write_json(tmp_path / "hf_quant_config.json", {"quantization": stated})
    found = inspected(tmp_path)
    assert found.damage == ()
    assert "not W4A16_NVFP4" in found.refusals("tensorrt-llm")[0]


WEIGHTS = {"num_bits": 4, "type": "float", "group_size": 16, "dynamic": False}
STATIC = {"num_bits": 4, "type": "float", "group_size": 16, "dynamic": False}


@pytest.mark.parametrize(
    "inline",
    [
        {"quant_algo": "NVFP4", "with_input_scale": False},
        {"quant_algo": "NVFP4", "config_groups": {"group_0": {"weights": WEIGHTS}}},
        {
            "quant_algo": "NVFP4",
            "config_groups": {"group_0": {"weights": WEIGHTS, "input_activations": None}},
        },
        {
            "quant_algo": "NVFP4",
            "config_groups": {
                "group_0": {"weights": WEIGHTS, "input_activations": {**STATIC, "dynamic": True}}
            },
        },
        {"quant_algo": "W4A16_NVFP4"},
        {"config_groups": {"group_0": {"weights": WEIGHTS}}},
    ],
)
@pytest.mark.parametrize("stated_twice", [True, False])
def test_input_scales_may_be_missing_if_the_quantization_has_none(
    tmp_path: Path, inline: dict[str, Any], stated_twice: bool
) -> None:
    tensors = {
        name: value for name, value in llama(True).items() if not name.endswith("input_scale")
    }
    stated = {"quant_method": "modelopt", "ignore": ["lm_head"], **inline}
    write_model(tmp_path, config(LLAMA, quantization_config=stated), tensors, quantized=False)
    algo = inline.get("quant_algo", "W4A16_NVFP4")
    if stated_twice:
        twice = NVFP4["quantization"] | {"quant_algo": algo, "kv_cache_quant_algo": None}
        twice["exclude_modules"] = ["lm_head"]
        write_json(tmp_path / "hf_quant_config.json", {"quantization": twice})

    found = inspected(tmp_path)

    assert found.damage == ()
    assert found.checkpoint.quantization.algo == algo
    assert found.refusals("gguf") == []
    (refusal,) = found.refusals("tensorrt-llm")
    assert "no input_scale is stored" in refusal or "not W4A16_NVFP4" in refusal


@pytest.mark.parametrize(
    "inline",
    [
        {"quant_algo": "NVFP4", "with_input_scale": True},
        {"quant_algo": "NVFP4"},
        {
            "quant_algo": "NVFP4",
            "config_groups": {"group_0": {"weights": WEIGHTS, "input_activations": STATIC}},
        },
        {"quant_algo": "NVFP4", "config_groups": {"group_0": {"weights": {"quant_algo": "NVFP4"}}}},
    ],
)
def test_input_scales_that_the_quantization_promises_are_damage_when_missing(
    tmp_path: Path, inline: dict[str, Any]
) -> None:
    tensors = {
        name: value for name, value in llama(True).items() if not name.endswith("input_scale")
    }
    stated = {"quant_method": "modelopt", "ignore": ["lm_head"], **inline}
    write_model(tmp_path, config(LLAMA, quantization_config=stated), tensors, quantized=False)

    assert "input_scale and 13 more: is missing" in inspected(tmp_path).damage[0]


def test_fp8_layers_need_no_input_scale_if_the_quantization_has_none(tmp_path: Path) -> None:
    tensors = around()
    for index in range(2):
        for name, value in layer(index, LINEAR | MLP, False).items():
            tensors[name] = value
            if "_proj" in name:
                tensors[name] = plain(*value[1], dtype="F8_E4M3")
                tensors[f"{name}_scale"] = number(0.5)
    stated = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
    for stored, sound in ((None, False), (True, False), (False, True)):
        settings = {**stated, **({} if stored is None else {"with_input_scale": stored})}
        write_model(tmp_path, config(LLAMA, quantization_config=settings), tensors, False)
        assert (inspected(tmp_path).damage == ()) is sound


def test_whether_input_scales_are_stored_is_yes_or_no(tmp_path: Path) -> None:
    stated = {"quant_method": "modelopt", "quant_algo": "NVFP4", "with_input_scale": "no"}
    write_model(tmp_path, config(LLAMA, quantization_config=stated), llama(True), False)
    with pytest.raises(CheckpointDamaged, match="with_input_scale: expected a boolean, got 'no'"):
        inspected(tmp_path)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.21.0", "Qwen3ForCausalLM needs TensorRT-LLM 1.0.0 or newer, but this is 0.21.0"),
        ("1.0.0rc3", "Qwen3ForCausalLM needs TensorRT-LLM 1.0.0 or newer"),
        ("1.3.0rc21", "no longer builds engines, the last that does is 1.3.0rc20"),
        ("1.3.0", "no longer builds engines"),
    ],
)
def test_a_tensorrt_llm_that_cannot_build_it_is_refused(version: str, message: str) -> None:
    refusals = inspected(DEMO, tensorrt_llm=version).refusals("tensorrt-llm")
    assert message in refusals[0]


@pytest.mark.parametrize("version", ["1.0.0", "1.2.1", "1.3.0rc3", "1.3.0rc20"])
def test_every_release_with_the_engine_path_is_accepted(version: str) -> None:
    refusals = inspected(DEMO, tensorrt_llm=version).refusals("tensorrt-llm")
    assert not any("TensorRT-LLM 1" in sentence for sentence in refusals)


def test_requiring_a_kind_raises_the_first_refusal(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {}, 2)
    with pytest.raises(CheckpointUnsupported, match="runs in one process, not in 2 ranks; leave"):
        found.require("gguf")
    inspect_llama(tmp_path, {}).require("gguf")


def test_requiring_a_damaged_checkpoint_says_that_it_is_damaged(tmp_path: Path) -> None:
    found = inspect_llama(tmp_path, {f"{Q0}.input_scale": None, "model.norm.weight": None})
    with pytest.raises(CheckpointDamaged, match=r"input_scale is missing.*\(and 1 more\); see"):
        found.require("vllm")


def test_a_rank_holds_its_share_of_layers_and_all_of_the_rest() -> None:
    whole, half = inspected(DEMO).estimate, inspected(DEMO, 2).estimate
    tensors = open_checkpoint(DEMO).tensors
    norms_and_embedding = sum(
        tensor.size_bytes for name, tensor in tensors.items() if "norm" in name or "embed" in name
    )
    assert whole.rank_weights == whole.weights
    assert half.rank_weights == (whole.weights - norms_and_embedding) // 2 + norms_and_embedding


def test_a_rank_of_an_unknown_architecture_holds_its_share_of_every_matrix(tmp_path: Path) -> None:
    tensors = {"layers.0.mixer.weight": plain(HIDDEN, HIDDEN), "layers.0.norm.weight": plain(8)}
    write_model(tmp_path, config("NovelForCausalLM"), tensors, quantized=False)
    assert inspected(tmp_path, 4).estimate.rank_weights == HIDDEN * HIDDEN * 2 // 4 + 8 * 2


def test_the_kv_cache_is_counted_at_the_limits() -> None:
    limits = Limits(max_batch_size=3, max_seq_len=100, max_num_tokens=64)
    numbers = inspected(DEMO, limits=limits).estimate
    # 4 layers, key and value, 2 heads of 64, one byte each.
    assert numbers.kv_cache_per_token == 4 * 2 * 2 * 64
    assert numbers.kv_cache_one == 100 * 4 * 2 * 2 * 64
    assert numbers.kv_cache_all == 3 * numbers.kv_cache_one


def test_a_context_longer_than_the_models_is_noted() -> None:
    limits = Limits(max_batch_size=1, max_seq_len=50_000, max_num_tokens=64)
    assert inspected(DEMO, limits=limits).notes == (
        "the limits ask for a context of 50000, but the model was made for 40960",
    )


def test_the_releases_that_can_build_an_engine_are_named() -> None:
    remarks = inspected(DEMO).kinds["tensorrt-llm"].remarks
    assert remarks[0] == "needs TensorRT-LLM 1.0.0 to 1.3.0rc20"


def test_a_32_billion_model_is_estimated_at_its_known_size(tmp_path: Path) -> None:
    # Qwen3-32B in NVFP4: about 6 GB a rank on four GPUs, and 24 GB on one with one sequence of 16K.
    write_sparse_qwen3(tmp_path, layers=64, hidden=5120, heads=64, kv_heads=8, intermediate=25600)
    limits = Limits(max_batch_size=8, max_seq_len=16384, max_num_tokens=8192)
    four, one = (inspected(tmp_path, ranks, limits=limits) for ranks in (4, 1))
    assert (four.damage, one.damage) == ((), ())
    assert four.refusals("tensorrt-llm") == []
    assert four.estimate.rank_weights == pytest.approx(6.3e9, rel=0.02)
    assert one.estimate.gpu_least == pytest.approx(24e9, rel=0.1)


# Not ru_maxrss: that remembers the memory of the process that started this one.
MEASURE = """
import re, sys, time
from pathlib import Path
from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
start = time.monotonic()
found = inspect_checkpoint(open_checkpoint(Path(sys.argv[1])), tensor_parallel=4)
seconds = time.monotonic() - start
most = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(len(found.damage), seconds, most[1])
"""


def test_a_20_gb_checkpoint_is_inspected_in_a_second_and_150_mb(tmp_path: Path) -> None:
    write_sparse_qwen3(tmp_path, layers=64, hidden=5120, heads=64, kv_heads=8, intermediate=25600)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) == 4
    assert sum(path.stat().st_size for path in shards) > 20e9
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    damage, seconds, kilobytes = done.stdout.split()
    assert damage == "0"
    assert float(seconds) < 1
    assert int(kilobytes) < 150_000


def write_sparse_qwen3(
    directory: Path, *, layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int
) -> None:
    """A Qwen3 in four shards with real headers and scales, and holes for weights."""
    settings = config(
        "Qwen3ForCausalLM",
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=128,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        vocab_size=151936,
        max_position_embeddings=40960,
    )
    write_json(directory / "config.json", settings)
    write_json(directory / "hf_quant_config.json", NVFP4)
    shards: list[dict[str, tuple[str, list[int]]]] = [{} for _ in range(4)]
    shards[0]["model.embed_tokens.weight"] = ("BF16", [151936, hidden])
    shards[3] |= {
        "lm_head.weight": ("BF16", [151936, hidden]),
        "model.norm.weight": ("BF16", [hidden]),
    }
    linears = {
        "self_attn.q_proj": (heads * 128, hidden),
        "self_attn.k_proj": (kv_heads * 128, hidden),
        "self_attn.v_proj": (kv_heads * 128, hidden),
        "self_attn.o_proj": (hidden, heads * 128),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    for index in range(layers):
        prefix, shard = f"model.layers.{index}", shards[index * 4 // layers]
        for name, (rows, columns) in linears.items():
            shard[f"{prefix}.{name}.weight"] = ("U8", [rows, columns // 2])
            shard[f"{prefix}.{name}.weight_scale"] = ("F8_E4M3", [rows, columns // 16])
            shard[f"{prefix}.{name}.weight_scale_2"] = ("F32", [])
            shard[f"{prefix}.{name}.input_scale"] = ("F32", [])
        shard[f"{prefix}.self_attn.k_proj.k_scale"] = ("F32", [])
        shard[f"{prefix}.self_attn.v_proj.v_scale"] = ("F32", [])
        for name in ("input_layernorm", "post_attention_layernorm"):
            shard[f"{prefix}.{name}.weight"] = ("BF16", [hidden])
        for name in ("q_norm", "k_norm"):
            shard[f"{prefix}.self_attn.{name}.weight"] = ("BF16", [128])
    weight_map = {}
    for number_, shard in enumerate(shards, 1):
        file = f"model-{number_:05}-of-00004.safetensors"
        write_sparse(directory / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    write_json(directory / "model.safetensors.index.json", {"weight_map": weight_map})


def write_sparse(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """The scales first, as safetensors' own writer sorts them, and a hole for the rest."""
    widths = {"F32": 4, "BF16": 2, "U8": 1, "F8_E4M3": 1}
    header, end = {}, 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: -widths[item[1][0]]):
        size = widths[dtype]
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    scales = sum(dtype == "F32" for dtype, _ in tensors.values())
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + number(0.5)[2] * scales)
        file.truncate(8 + len(text) + end)
