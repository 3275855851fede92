"""Completes and checks what ModelOpt has exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import SOURCE_PATTERNS, open_checkpoint
from enginix.checkpoint.quantization import LAYERS_FILE, LEGACY_FILE
from enginix.checkpoint.tensors import INDEX_FILE
from enginix.engine.text.staging import text_files, write_whole
from enginix.errors import BuildError, CheckpointError
from enginix.hub_files import CONFIG_FILE
from enginix.plain_files import read_own
from enginix.quantize.formats import FORMATS, KV_CACHES

# ModelOpt writes its own of these.
EXPORTED = (CONFIG_FILE, LEGACY_FILE, LAYERS_FILE, INDEX_FILE)
LICENSES = ("LICENSE*", "NOTICE*", "USE_POLICY*")


def copy_text(source: Path, directory: Path) -> list[str]:
    """Copy tokenizer, chat template, generation_config.json and license, byte for byte."""
    patterns = [*SOURCE_PATTERNS, *LICENSES]
    names = [name for name in text_files(source, patterns) if name not in EXPORTED]
    more = source / "additional_chat_templates"
    names += [f"{more.name}/{path.name}" for path in sorted(more.glob("*.jinja"))]
    for name in names:
        (directory / name).parent.mkdir(exist_ok=True)
        write_whole(directory / name, read_own(source, name))
    return names


def check_result(directory: Path, format: str, kv_cache: str) -> Inspection:
    """The findings about it; BuildError if it is not what was asked for."""
    try:
        found = inspect_checkpoint(open_checkpoint(directory))
    except CheckpointError as error:
        raise BuildError(f"ModelOpt's result is no checkpoint: {error}") from error
    if found.damage:
        more = f" (and {len(found.damage) - 1} more)" if found.damage[1:] else ""
        raise BuildError(
            f"ModelOpt's result is wrong, and nothing was written: {found.damage[0]}{more}; try "
            "other samples, another format or another version of ModelOpt"
        )
    stated = found.checkpoint.quantization
    expected = FORMATS[format].algo, KV_CACHES[kv_cache][1]
    if (stated.algo, stated.kv_cache_algo) != expected or not any(found.algorithms.values()):
        raise BuildError(
            f"ModelOpt's result states {stated.algo} with a KV cache of {stated.kv_cache_algo}, "
            f"and {sum(map(bool, found.algorithms.values()))} layers are quantized; expected "
            f"{expected[0]} and {expected[1]}: this version of ModelOpt cannot do it for "
            f"{found.checkpoint.architecture}"
        )
    return found


def formats_of(found: Inspection) -> Iterator[tuple[str, int, list[str]]]:
    """(algorithm, number of layers, their roles) for each algorithm among the linear layers."""
    for algo in dict.fromkeys(found.algorithms.values()):
        layers = [each for each in found.layers if found.algorithms[each.name] == algo]
        roles = dict.fromkeys(layer.role for layer in layers)
        yield algo or "not quantized", len(layers), list(roles)
