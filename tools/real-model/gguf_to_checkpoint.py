"""Turns a GGUF of a Llama into a Hugging Face checkpoint in BF16.

    python gguf_to_checkpoint.py MODEL.gguf OUT

Weights are dequantized: the GGUF's loss remains, so the result is a different model. Needs
gguf, torch, safetensors and tokenizers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOKENIZER_SPLIT = "smollm"


def main() -> None:
    args = _parser().parse_args()
    reader = gguf.GGUFReader(args.model)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    if facts["general.architecture"] != "llama":
        raise SystemExit(f"{args.model} is a {facts['general.architecture']}, expected a llama")
    if facts["tokenizer.ggml.pre"] != TOKENIZER_SPLIT:
        raise SystemExit(
            f"{args.model} splits text as {facts['tokenizer.ggml.pre']}, expected {TOKENIZER_SPLIT}"
        )
    args.out.mkdir(parents=True)
    weights = dict(_weight(tensor, facts) for tensor in reader.tensors)
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    _write(args.out / "config.json", _configuration(facts, "lm_head.weight" in weights))
    _write(args.out / "generation_config.json", _special_ids(facts))
    _tokenizer(facts).save(str(args.out / "tokenizer.json"))
    _write(args.out / "tokenizer_config.json", _tokenizer_configuration(facts))
    template = facts["tokenizer.chat_template"]
    (args.out / "chat_template.jinja").write_text(template, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("out", type=Path, metavar="OUT", help="a directory that is not there yet")
    return parser


def _weight(tensor: Any, facts: dict[str, Any]) -> tuple[str, torch.Tensor]:
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    values = values.reshape([int(size) for size in reversed(tensor.shape)])
    if tensor.name in OUTER:
        return OUTER[tensor.name], _bf16(values)
    _, layer, module, _ = tensor.name.split(".")
    if module == "attn_q":
        values = _in_halves(values, facts["llama.attention.head_count"])
    if module == "attn_k":
        values = _in_halves(values, facts["llama.attention.head_count_kv"])
    return f"model.layers.{layer}.{INNER[module]}.weight", _bf16(values)


def _in_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring rows of a head, transformers its two halves."""
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _bf16(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)


def _configuration(facts: dict[str, Any], has_head: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "max_position_embeddings": facts["llama.context_length"],
        "rope_theta": facts["llama.rope.freq_base"],
        # A float32 in the GGUF: 9.999999747378752e-06 is 1e-05.
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "vocab_size": facts["llama.vocab_size"],
        "tie_word_embeddings": not has_head,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **_special_ids(facts),
    }


def _special_ids(facts: dict[str, Any]) -> dict[str, int]:
    return {
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
    }


def _tokenizer(facts: dict[str, Any]) -> Tokenizer:
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind == gguf.TokenType.CONTROL
    ]
    tokenizer.add_special_tokens(control)
    return tokenizer


def _tokenizer_configuration(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = facts["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[facts["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[facts["tokenizer.ggml.unknown_token_id"]],
        "model_max_length": facts["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
