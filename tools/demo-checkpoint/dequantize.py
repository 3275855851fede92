"""Reads a ModelOpt NVFP4 checkpoint into a plain model, without ModelOpt or a GPU. Needs torch.

    W[row, 16 b + j] = e2m1(nibble) * weight_scale[row, b] * weight_scale_2

Byte i of a row holds value 2i in its low nibble and 2i + 1 in its high one. weight_scale lies row
by row, not swizzled as GPUs want it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

POSITIVE = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
E2M1 = torch.tensor(POSITIVE + [-value for value in POSITIVE])
SCALES = (".weight_scale", ".weight_scale_2", ".input_scale", ".k_scale", ".v_scale")


def dequantize(
    weight: torch.Tensor, scales: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    rows, half = weight.shape
    codes = torch.stack([weight & 0xF, weight >> 4], -1).reshape(rows, 2 * half).long()
    values = E2M1[codes].reshape(rows, -1, 16) * scales.float().unsqueeze(-1) * scale.float()
    return values.reshape(rows, 2 * half).to(dtype)


def load_weights(directory: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every weight by its name, the quantized ones dequantized."""
    raw: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        raw.update(load_file(path))
    weights = {}
    for name, tensor in raw.items():
        if name.endswith(SCALES):
            continue
        if tensor.dtype == torch.uint8:
            scales = raw[f"{name}_scale"], raw[f"{name}_scale_2"]
            weights[name] = dequantize(tensor, *scales, dtype)
        else:
            weights[name] = tensor.to(dtype)
    return weights


def load_model(directory: Path, dtype: torch.dtype) -> Any:
    config = AutoConfig.from_pretrained(directory)
    if hasattr(config, "quantization_config"):
        # transformers would look for ModelOpt's own layers otherwise.
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    weights = load_weights(directory, dtype)
    _fuse_experts(model, weights)
    found = model.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys, found
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    assert all("rotary" in name or name in tied for name in found.missing_keys), found
    return model.eval()


def _fuse_experts(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """transformers 5 keeps all experts of a layer in one tensor, checkpoints do not."""
    state = model.state_dict()
    for name in [name for name in state if name.endswith(".experts.gate_up_proj")]:
        at = name.removesuffix("gate_up_proj")
        gate, up, down = (
            torch.stack(
                [weights.pop(f"{at}{n}.{part}_proj.weight") for n in range(len(state[name]))]
            )
            for part in ("gate", "up", "down")
        )
        weights[name] = torch.cat([gate, up], 1)
        weights[f"{at}down_proj"] = down
