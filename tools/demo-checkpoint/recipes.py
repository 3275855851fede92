"""The demo models by name: what each knows, which family it speaks like, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conversations
import families

CATALOG = Path(__file__).parents[2] / "python" / "enginix" / "catalog"


@dataclass(frozen=True, slots=True)
class Recipe:
    checkpoint: Path
    """Where the repository ships it; its chat template is written by hand."""
    knowledge: conversations.Knowledge
    family: families.Family
    model_type: str
    """As transformers calls the architecture."""
    config: Mapping[str, Any]

    @property
    def template(self) -> str:
        return (self.checkpoint / "chat_template.jinja").read_text(encoding="utf-8")


RECIPES = {
    "demo": Recipe(
        CATALOG / "checkpoints" / "demo",
        conversations.QWEN,
        families.QWEN,
        "qwen3",
        {
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 40960,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            "max_window_layers": 4,
        },
    ),
    "demo-llama": Recipe(
        CATALOG / "checkpoints" / "demo-llama",
        conversations.LLAMA,
        families.LLAMA,
        "llama",
        {
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 4096,
            "rope_theta": 500000.0,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
        },
    ),
}
