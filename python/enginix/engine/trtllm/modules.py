"""TensorRT-LLM's linear modules of a dense decoder on one rank: names, sources and sizes.

Its names differ from the checkpoint's: q, k and v are one module, and `fc` is the gate projection
while `gate` is the up projection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from enginix.checkpoint.architecture import FAMILIES, Sizes, has_plain_layers, read_sizes
from enginix.checkpoint.load import Checkpoint
from enginix.hub_files import CONFIG_FILE

NVFP4_BLOCK = 16

# transformers 4.57's defaults if config.json has no max_position_embeddings.
DEFAULT_CONTEXT = {
    "LlamaForCausalLM": 2048,
    "MistralForCausalLM": 131072,
    "Qwen2ForCausalLM": 32768,
    "Qwen3ForCausalLM": 32768,
}


@dataclass(frozen=True, slots=True)
class Decoder:
    """A dense decoder whose TensorRT-LLM tensors are known."""

    sizes: Sizes
    query_key_norm: bool = False
    qkv_bias: bool = False


@dataclass(frozen=True, slots=True)
class Module:
    """`sources` are the checkpoint's layers that it combines; sizes are one rank's."""

    name: str
    sources: tuple[str, ...]
    rows: int
    columns: int
    bias: bool = False


def read_decoder(checkpoint: Checkpoint) -> Decoder | None:
    """None for an architecture whose TensorRT-LLM tensors enginix does not know."""
    if not has_plain_layers(checkpoint.architecture, checkpoint.config):
        return None
    family = FAMILIES[checkpoint.architecture]
    sizes = read_sizes(checkpoint.directory / CONFIG_FILE, checkpoint.config)
    if not sizes.context:
        sizes = replace(sizes, context=DEFAULT_CONTEXT[checkpoint.architecture])
    return Decoder(sizes, family.query_key_norm, family.qkv_bias)


def linear_modules(decoder: Decoder, ranks: int) -> Iterator[Module]:
    """Every linear module of one rank, the output head last."""
    sizes = decoder.sizes
    queries = sizes.heads * sizes.head_size // ranks
    keys = sizes.kv_heads * sizes.head_size // ranks
    inner, hidden = sizes.intermediate // ranks, sizes.hidden
    for index in range(sizes.layers):
        ours, theirs = f"transformer.layers.{index}", f"model.layers.{index}"
        qkv = tuple(f"{theirs}.self_attn.{each}_proj" for each in "qkv")
        yield Module(f"{ours}.attention.qkv", qkv, queries + 2 * keys, hidden, decoder.qkv_bias)
        yield Module(f"{ours}.attention.dense", (f"{theirs}.self_attn.o_proj",), hidden, queries)
        for name, source in (("fc", "gate_proj"), ("gate", "up_proj")):
            yield Module(f"{ours}.mlp.{name}", (f"{theirs}.mlp.{source}",), inner, hidden)
        yield Module(f"{ours}.mlp.proj", (f"{theirs}.mlp.down_proj",), hidden, inner)
    # The vocabulary is padded to a multiple of the ranks.
    yield Module("lm_head", ("lm_head",), -(-sizes.vocabulary // ranks), hidden)
