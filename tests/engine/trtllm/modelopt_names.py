"""The one map from the names ModelOpt's TensorRT-LLM exporter writes to those of TensorRT-LLM's own
rank files, and what each has that the other has not (docs/tensorrt-llm-engines.md says why).
"""

from __future__ import annotations

# The last word of a name; every other name is the same.
RENAMED = {
    "weights_scaling_factor": "weights_block_scaling_factor",
    "weights_scaling_factor_2": "weights_global_scaling_factor",
    "activation_scaling_factor": "activation_global_scaling_factor",
}

SHARDED_EMBEDDING = "transformer.vocab_embedding.weight"
"""ModelOpt gives each rank its rows; TensorRT-LLM gives every rank the whole."""

CACHE_SCALES = ("k_cache_scaling_factor", "v_cache_scaling_factor", "kv_cache_scaling_factor")
"""ModelOpt writes all three and raises each to 1 at least; TensorRT-LLM writes the last alone, as
the checkpoint has it, and its reciprocal."""

ONLY_OURS = (
    "weights_block_scaling_factor_interleaved",
    "alpha",
    "kv_cache_rcp_scaling_factor",
    "embed_positions",
    "rotary_inv_freq",
    "embed_positions_for_gpt_attention",
)
"""The last word of names ModelOpt does not write: they follow from others, or from config.json."""


def last_word(name: str) -> str:
    return name.rpartition(".")[2]


def our_name(theirs: str) -> str:
    head, dot, last = theirs.rpartition(".")
    return f"{head}{dot}{RENAMED.get(last, last)}"
