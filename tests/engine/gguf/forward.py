"""A decoder in numpy, as transformers defines these architectures: the reference for llama.cpp.

The weights are the checkpoint's dequantized numbers under their own names; nothing here knows how
llama.cpp orders or names anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from engine.gguf.values import checkpoint_values

Array = np.ndarray


class Decoder:
    def __init__(self, checkpoint: Path) -> None:
        self.config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
        values = checkpoint_values(checkpoint)
        self.weights = {
            name.removesuffix(".weight"): data * values.get(f"{name}_scale_2", np.float32(1))
            for name, data in values.items()
            if name.endswith(".weight")
        }

    def next_token(self, ids: list[int]) -> int:
        return int(np.argmax(self.logits(ids)[-1]))

    def logits(self, ids: list[int]) -> Array:
        """What comes after each of the tokens: a row per token."""
        hidden = self.weights["model.embed_tokens"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            hidden = hidden + self._attention(at, self._norm(f"{at}.input_layernorm", hidden))
            normed = self._norm(f"{at}.post_attention_layernorm", hidden)
            mix = self._experts if f"{at}.mlp.gate" in self.weights else self._feed_forward
            hidden = hidden + mix(f"{at}.mlp", normed)
        last = self._norm("model.norm", hidden)
        tied = self.config["tie_word_embeddings"]
        head = self.weights["model.embed_tokens" if tied else "lm_head"]
        return linear(last, head)

    def _norm(self, name: str, values: Array) -> Array:
        mean = np.mean(values**2, axis=-1, keepdims=True)
        return values / np.sqrt(mean + self.config["rms_norm_eps"]) * self.weights[name]

    def _attention(self, at: str, values: Array) -> Array:
        head_dim, heads = self.config["head_dim"], self.config["num_attention_heads"]
        count = len(values)
        query, key, value = (
            (linear(values, self.weights[f"{at}.self_attn.{part}_proj"])).reshape(
                count, -1, head_dim
            )
            for part in "qkv"
        )
        if f"{at}.self_attn.q_norm" in self.weights:
            query = self._norm(f"{at}.self_attn.q_norm", query)
            key = self._norm(f"{at}.self_attn.k_norm", key)
        query, key = self._turned(query), self._turned(key)
        # Several query heads share one key and value head.
        key, value = (np.repeat(each, heads // each.shape[1], axis=1) for each in (key, value))
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(head_dim)
        scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
        mixed = np.einsum("hqk,khd->qhd", softmax(scores), value)
        return linear(mixed.reshape(count, -1), self.weights[f"{at}.self_attn.o_proj"])

    def _turned(self, values: Array) -> Array:
        """Rotary embedding: dimension i turns with i + half of the head."""
        frequencies, scale = self._frequencies()
        angles = np.arange(len(values))[:, None, None] * frequencies
        first, second = np.split(values, 2, axis=-1)
        cos = (np.cos(angles) * scale).astype(np.float32)
        sin = (np.sin(angles) * scale).astype(np.float32)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _frequencies(self) -> tuple[Array, float]:
        """(radians per position of each pair, factor on the result), by the type of scaling."""
        size, theta = self.config["head_dim"], self.config["rope_theta"]
        plain = theta ** -(np.arange(0, size, 2) / size)
        scaling = self.config.get("rope_scaling") or {"rope_type": "default"}
        factor = scaling.get("factor", 1.0)
        context = scaling.get("original_max_position_embeddings", 0)
        match scaling["rope_type"]:
            case "linear":
                return plain / factor, 1.0
            case "llama3":
                low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
                share = np.clip((context * plain / (2 * np.pi) - low) / (high - low), 0, 1)
                return plain * (share + (1 - share) / factor), 1.0
            case "yarn":
                # "YaRN", 3.2 and 3.4: dimensions that turn more than 32 times are unchanged.
                def dimension(turns: float) -> float:
                    return size * np.log(context / (turns * 2 * np.pi)) / (2 * np.log(theta))

                low, high = np.floor(dimension(32)), np.ceil(dimension(1))
                ramp = np.clip((np.arange(size // 2) - max(low, 0)) / (high - max(low, 0)), 0, 1)
                return plain * (1 - ramp) + plain / factor * ramp, 0.1 * np.log(factor) + 1
            case _:
                return plain, 1.0

    def _feed_forward(self, at: str, values: Array) -> Array:
        gate = linear(values, self.weights[f"{at}.gate_proj"])
        up = linear(values, self.weights[f"{at}.up_proj"])
        return linear(gate / (1 + np.exp(-gate)) * up, self.weights[f"{at}.down_proj"])

    def _experts(self, at: str, values: Array) -> Array:
        weights = softmax(linear(values, self.weights[f"{at}.gate"]))
        mixed = np.zeros_like(values)
        for row, share in enumerate(weights):
            best = np.argsort(share)[-self.config["num_experts_per_tok"] :]
            for expert in best:
                answer = self._feed_forward(f"{at}.experts.{expert}", values[row : row + 1])[0]
                mixed[row] += share[expert] / share[best].sum() * answer
        return mixed


def linear(values: Array, weight: Array) -> Array:
    # Not `@`: its library's threads spin on each other, for seconds on a busy machine.
    return np.einsum("ri,oi->ro", values, weight)


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
