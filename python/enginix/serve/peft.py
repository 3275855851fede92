"""Reads a LoRA adapter as PEFT saves it: its description, and the shapes of its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from enginix.errors import UsageError
from enginix.hub_files import read_object
from enginix.plain_files import open_regular

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_HEADER = 64 << 20


def read_peft(directory: Path) -> dict[str, Any]:
    """Its adapter_config.json. UsageError if it is no LoRA adapter."""
    config = read_object(directory / CONFIG, UsageError)
    if config is None:
        found = "is a file" if directory.is_file() else f"has no {CONFIG}"
        raise UsageError(f"{directory} {found}; expected a directory as PEFT saves an adapter")
    if config.get("peft_type", "LORA") != "LORA":
        raise UsageError(
            f"{directory} is a {config['peft_type']} adapter; expected a LORA one, which servers "
            "can serve beside others"
        )
    if type(config.get("r")) is not int or config["r"] < 1:
        raise UsageError(
            f"{directory}/{CONFIG}: r: expected the adapter's rank, got {config.get('r')!r}"
        )
    return config


def peft_rank(directory: Path) -> int:
    rank: int = read_peft(directory)["r"]
    return rank


def peft_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape; empty if the weights are not in safetensors."""
    path = directory / WEIGHTS
    try:
        with open_regular(path) as file:
            (length,) = struct.unpack("<Q", file.read(8))
            table = json.loads(file.read(length) if length <= MAX_HEADER else b"")
            return {
                name: tuple(map(int, row["shape"]))
                for name, row in table.items()
                if name != "__metadata__"
            }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        raise UsageError(
            f"{path} is no complete safetensors file; copy the adapter again"
        ) from None
