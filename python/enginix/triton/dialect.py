"""Which tensors a model has, and how its generation of TensorRT-LLM calls them."""

from __future__ import annotations

from dataclasses import dataclass

# TensorRT-LLM renamed these after 0.19, silently: (new name, old name).
RENAMED = {"seed": "random_seed", "min_tokens": "min_length"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The tensors of one model."""

    model: str
    inputs: frozenset[str]
    outputs: frozenset[str]

    def input(self, name: str) -> str | None:
        """The model's own name for an input, or None when it has no such input."""
        if name in self.inputs:
            return name
        older = RENAMED.get(name)
        return older if older in self.inputs else None
