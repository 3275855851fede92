"""The configuration files next to a tokenizer, and the special tokens they define."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from enginix.errors import EngineDamaged


def read_special_tokens(directory: Path) -> dict[str, str]:
    """Roles (`bos_token`, `eos_token`, ...) -> special tokens, as the checkpoint assigns them."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for role, token in read_json(directory / name).items():
            content = token.get("content") if isinstance(token, dict) else token
            if role.endswith("_token") and isinstance(content, str):
                tokens[role] = content
    return tokens


def read_json(path: Path) -> dict[str, Any]:
    """Read an optional configuration file; empty if it is absent."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EngineDamaged(f"{path} cannot be read: {error}; build the engine again") from error
    if not isinstance(data, dict):
        raise EngineDamaged(f"{path} is not a JSON object; build the engine again")
    return data
