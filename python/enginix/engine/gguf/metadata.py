"""Hyperparameters as a GGUF's key values, independent of the time and place of the build."""

from __future__ import annotations

from collections.abc import Iterable

from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf import RopeScalingType as ScalingType

from enginix.engine.gguf.hyperparameters import Hyperparameters, Rope
from enginix.engine.gguf.tensor_sources import GgufTensor

FILE_TYPES = {
    GGMLQuantizationType.NVFP4: LlamaFileType.MOSTLY_NVFP4,
    GGMLQuantizationType.BF16: LlamaFileType.MOSTLY_BF16,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.F32: LlamaFileType.ALL_F32,
}


def add_metadata(
    writer: GGUFWriter, name: str, model: Hyperparameters, tensors: Iterable[GgufTensor]
) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(_file_type(tensors))
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden_size)
    writer.add_feed_forward_length(model.intermediate_size)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(model.rms_norm_epsilon)
    writer.add_vocab_size(model.vocab_size)
    if model.architecture == "llama":
        writer.add_rope_dimension_count(model.head_dim)
    _add_rope(writer, model.rope)
    if model.experts:
        writer.add_expert_count(model.experts.count)
        writer.add_expert_used_count(model.experts.used)
        writer.add_expert_feed_forward_length(model.experts.intermediate_size)


def _add_rope(writer: GGUFWriter, rope: Rope) -> None:
    writer.add_rope_freq_base(rope.theta)
    # llama3's scaling is stored as the tensor rope_freqs.
    if rope.type in ("linear", "yarn"):
        kind = ScalingType.YARN if rope.type == "yarn" else ScalingType.LINEAR
        writer.add_rope_scaling_type(kind)
        writer.add_rope_scaling_factor(rope.scaling["factor"])
    if rope.type == "yarn":
        context = int(rope.scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_orig_ctx_len(context)


def _file_type(tensors: Iterable[GgufTensor]) -> LlamaFileType:
    """The type of most of the bytes."""
    sizes = dict.fromkeys(FILE_TYPES, 0)
    for tensor in tensors:
        sizes[tensor.type] += tensor.size_bytes
    if sizes[GGMLQuantizationType.NVFP4]:
        return LlamaFileType.MOSTLY_NVFP4
    return FILE_TYPES[max(sizes, key=lambda kind: sizes[kind])]
