"""Lays out a GGUF's tensors and the checkpoint tensors each is made of. Reads no weights.

Every tensor of the checkpoint is used or refused: llama.cpp would silently ignore the rest, which
would give another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import pi

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType

from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.tensors import TensorInfo
from enginix.engine.gguf.hyperparameters import Hyperparameters, Rope
from enginix.engine.gguf.tensor_sources import PLAIN_TYPES, Constant, GgufTensor, Plain, Supply
from enginix.errors import CheckpointDamaged

# transformers' module names in a layer -> llama.cpp's.
MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
FEED_FORWARD = {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def lay_out(checkpoint: Checkpoint, model: Hyperparameters) -> list[GgufTensor]:
    """The GGUF's tensors in the order of the file."""
    supply = Supply(checkpoint)
    tensors = list(_tensors(supply, model))
    supply.refuse_rest(ignored="lm_head." if model.ties_embeddings else None)
    return tensors


def _tensors(supply: Supply, model: Hyperparameters) -> Iterator[GgufTensor]:
    hidden, vocabulary = model.hidden_size, model.vocab_size
    yield _plain_matrix(supply, "model.embed_tokens", "token_embd", (vocabulary, hidden))
    yield _vector(supply, "model.norm", "output_norm", hidden)
    if not model.ties_embeddings:
        yield from _matrix(supply, "lm_head", "output", (vocabulary, hidden))
    if model.rope.type == "llama3":
        factors = rotary_factors(model.rope, model.head_dim)
        yield GgufTensor(
            "rope_freqs.weight", factors.shape, GGMLQuantizationType.F32, (Constant(factors),)
        )
    for layer in range(model.layers):
        yield from _attention(supply, model, f"model.layers.{layer}", f"blk.{layer}")
        feed_forward = _experts if model.experts else _dense
        yield from feed_forward(supply, model, f"model.layers.{layer}.mlp", f"blk.{layer}")


def _attention(
    supply: Supply, model: Hyperparameters, source: str, target: str
) -> Iterator[GgufTensor]:
    hidden, queries = model.hidden_size, model.heads * model.head_dim
    keys = model.kv_heads * model.head_dim
    shapes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
    }
    # For Llama, llama.cpp rotates neighbouring pairs; for Qwen3 halves, like transformers.
    turned = {"self_attn.q_proj", "self_attn.k_proj"} if model.architecture == "llama" else set()
    for module, name in MODULES.items():
        if module in shapes:
            head_dim = model.head_dim if module in turned else None
            matrix = partial(_matrix, supply, f"{source}.{module}", f"{target}.{name}")
            yield from matrix(shapes[module], head_dim)
        else:
            yield _vector(supply, f"{source}.{module}", f"{target}.{name}", hidden)
    if model.architecture != "llama":
        for module, name in HEAD_NORMS.items():
            yield _vector(supply, f"{source}.{module}", f"{target}.{name}", model.head_dim)


def _dense(
    supply: Supply, model: Hyperparameters, source: str, target: str
) -> Iterator[GgufTensor]:
    for module, name in FEED_FORWARD.items():
        shape = _feed_forward_shape(module, model.hidden_size, model.intermediate_size)
        yield from _matrix(supply, f"{source}.{module}", f"{target}.{name}", shape)


def _experts(
    supply: Supply, model: Hyperparameters, source: str, target: str
) -> Iterator[GgufTensor]:
    assert model.experts, "called for models with experts"
    count, hidden = model.experts.count, model.hidden_size
    router = supply.take(f"{source}.gate.weight", (count, hidden))
    yield GgufTensor(
        f"{target}.ffn_gate_inp.weight",
        (count, hidden),
        # llama.cpp routes to experts in full precision.
        GGMLQuantizationType.F32,
        (Plain(supply.plain(router)),),
    )
    for module, name in FEED_FORWARD.items():
        shape = _feed_forward_shape(module, hidden, model.experts.intermediate_size)
        sources = [f"{source}.experts.{expert}.{module}" for expert in range(count)]
        yield from _stack(supply, sources, f"{target}.{name}_exps", shape)


def _feed_forward_shape(module: str, hidden: int, intermediate: int) -> tuple[int, int]:
    return (hidden, intermediate) if module == "down_proj" else (intermediate, hidden)


def _vector(supply: Supply, source: str, target: str, size: int) -> GgufTensor:
    tensor = supply.plain(supply.take(f"{source}.weight", (size,)))
    return GgufTensor(f"{target}.weight", (size,), GGMLQuantizationType.F32, (Plain(tensor),))


def _matrix(
    supply: Supply, source: str, target: str, shape: tuple[int, int], head_dim: int | None = None
) -> Iterator[GgufTensor]:
    if supply.is_packed(source):
        parts, scale, input_scale = supply.packed(source, shape, head_dim)
        yield GgufTensor(f"{target}.weight", shape, GGMLQuantizationType.NVFP4, (parts,))
        yield from _scales(target, [scale], [input_scale])
    else:
        yield _plain_matrix(supply, source, target, shape, head_dim)


def _plain_matrix(
    supply: Supply, source: str, target: str, shape: tuple[int, int], head_dim: int | None = None
) -> GgufTensor:
    tensor = supply.plain(supply.take(f"{source}.weight", shape))
    part = Plain(tensor, head_dim)
    return GgufTensor(f"{target}.weight", shape, PLAIN_TYPES[tensor.dtype], (part,))


def _stack(
    supply: Supply, sources: Sequence[str], target: str, shape: tuple[int, int]
) -> Iterator[GgufTensor]:
    """One tensor with the matrices of all experts."""
    stacked = (len(sources), *shape)
    if supply.is_packed(sources[0]):
        parts, scales, input_scales = zip(
            *(supply.packed(source, shape, None) for source in sources), strict=True
        )
        yield GgufTensor(f"{target}.weight", stacked, GGMLQuantizationType.NVFP4, parts)
        yield from _scales(target, scales, input_scales)
    else:
        tensors = [supply.plain(supply.take(f"{source}.weight", shape)) for source in sources]
        dtypes = sorted({tensor.dtype for tensor in tensors})
        if len(dtypes) > 1:
            raise CheckpointDamaged(
                f"{supply.directory}: the experts {sources[0]} ... {sources[-1]} are "
                f"{' and '.join(dtypes)}; expected one dtype for all"
            )
        experts = tuple(Plain(tensor) for tensor in tensors)
        yield GgufTensor(f"{target}.weight", stacked, PLAIN_TYPES[dtypes[0]], experts)


def _scales(
    target: str, scales: Sequence[TensorInfo], input_scales: Sequence[TensorInfo | None]
) -> Iterator[GgufTensor]:
    """The F32 scales of whole matrices, which ggml's blocks cannot hold."""
    one = Constant(np.ones(1, np.float32))
    for name, tensors in (("scale", scales), ("input_scale", input_scales)):
        if not any(tensors):
            # Activations are not quantized, so there is no input scale.
            continue
        parts = tuple(Plain(tensor) if tensor else one for tensor in tensors)
        yield GgufTensor(f"{target}.{name}", (len(parts),), GGMLQuantizationType.F32, parts)


def rotary_factors(rope: Rope, head_dim: int) -> npt.NDArray[np.float32]:
    """Llama 3.1's factor for each rotary frequency, which llama.cpp reads as a tensor."""
    factor, context = rope.scaling["factor"], rope.scaling["original_max_position_embeddings"]
    low, high = rope.scaling["low_freq_factor"], rope.scaling["high_freq_factor"]
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    turns = context / (2 * pi * rope.theta**exponents)
    smooth = (turns - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(turns > high, 1.0, np.where(turns < low, factor, between))
    return factors.astype(np.float32)
