"""Writes dicts, lists and scalars as YAML that people read: block style, keys in their order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# What no YAML parser takes for anything but a string, together with RESERVED.
PLAIN = re.compile(r"(--?)?[A-Za-z/]([A-Za-z0-9_./=-]|:(?=[A-Za-z0-9/])| (?=[A-Za-z0-9]))*")
# YAML 1.1, which Kubernetes' and Envoy's parsers follow, has more words for truth than 1.2.
RESERVED = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}


def to_yaml(value: Any) -> str:
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _entry(f"{indent}{_quoted(str(key))}:", item, indent)
    elif isinstance(value, list) and value:
        for item in value:
            # The first line of a nested block follows the dash.
            first, *rest = _block(item, f"{indent}  ")
            yield f"{indent}- {first.removeprefix(indent + '  ')}"
            yield from rest
    else:
        yield f"{indent}{_scalar(value)}"


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield head
        yield from _block(item, f"{indent}  ")
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    if PLAIN.fullmatch(text) and text.lower() not in RESERVED:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
