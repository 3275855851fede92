"""Copies tokenizer, chat template and their settings from the checkpoint into an engine.

If the checkpoint has no tokenizer.json, one is made from its vocabulary files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from enginix.engine.gguf.vocabulary import TOKENIZER_FILE
from enginix.engine.text.convert import convert_tokenizer
from enginix.hub_files import (
    GENERATION_CONFIG_FILE,
    MAX_TEMPLATE_BYTES,
    SPECIAL_TOKENS_FILE,
    HubFiles,
    read_object,
    without_nulls,
)
from enginix.plain_files import MAX_BYTES, read_own

CONVERTERS = ("sentencepiece", "tiktoken", "tokenizers", "transformers")


@dataclass(frozen=True, slots=True)
class StagedText:
    directory: Path
    """The directory of tokenizer.json and its settings."""
    note: str = ""
    """What was done in addition to copying."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """The libraries that made tokenizer.json, with versions."""


def text_files(directory: Path, patterns: Sequence[str]) -> list[str]:
    return sorted(
        path.name
        for path in directory.iterdir()
        if any(fnmatchcase(path.name, pattern) for pattern in patterns)
    )


def stage_text(source: Path, directory: Path, patterns: Sequence[str]) -> StagedText:
    """Fill `directory` with the text files of the checkpoint `source`, or raise."""
    names = [name for name in text_files(source, patterns) if name != GENERATION_CONFIG_FILE]
    converted = None if TOKENIZER_FILE in names else convert_tokenizer(source)
    for name in names:
        # Only the bytes: the checkpoint may be in a store where every mode is read-only.
        write_whole(directory / name, read_own(source, name, _most(name)))
    if found := generation_config_bytes(source):
        write_whole(directory / GENERATION_CONFIG_FILE, found)
    if converted is None:
        return StagedText(source)
    write_whole(directory / TOKENIZER_FILE, converted.text.encode("utf-8"))
    if SPECIAL_TOKENS_FILE not in names and converted.roles:
        roles = json.dumps(dict(converted.roles), ensure_ascii=False, indent=2) + "\n"
        write_whole(directory / SPECIAL_TOKENS_FILE, roles.encode("utf-8"))
    return StagedText(directory, converted.summary, installed())


def installed() -> dict[str, str]:
    """The installed converting libraries."""
    found = {}
    for name in CONVERTERS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def generation_config_bytes(checkpoint: Path) -> bytes | None:
    """An engine's generation_config.json, which holds what its checkpoint's config.json adds to it:
    an engine has no config.json of its checkpoint. None where neither file says anything.
    """
    own = None
    if os.path.lexists(checkpoint / GENERATION_CONFIG_FILE):
        data = read_own(checkpoint, GENERATION_CONFIG_FILE)
        own = read_object(checkpoint / GENERATION_CONFIG_FILE)
    found = HubFiles(checkpoint).generation_config
    if own is not None and without_nulls(own) == found:
        return data
    return (json.dumps(found, indent=2) + "\n").encode("utf-8") if found else None


def _most(name: str) -> int:
    return MAX_TEMPLATE_BYTES if name.endswith(".jinja") else MAX_BYTES
