"""Adopts an engine made by running trtllm-build by hand: checks it, adds tokenizer and manifest.

What its files do not record, such as the GPU it was built on, stays unknown in the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from enginix import __version__
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.chat_format import chat_format
from enginix.engine.text.staging import stage_text, write_whole
from enginix.engine.trtllm.engine_config import CONFIG_FILE, EngineConfig, read_engine
from enginix.engine.trtllm.tokenizer import (
    GUIDE_FILE,
    TOKENIZER_FILE,
    TOKENIZER_PATTERNS,
    read_vocabulary,
    tokenizer_files,
    write_guide,
)
from enginix.engine.trtllm.verify import verify_engine
from enginix.errors import EngineError, EngineMismatch, NotACheckpoint, QuantizationLost
from enginix.hub_files import HubFiles
from enginix.manifest import BuiltWith, Manifest, Source, write_manifest

# Files that trtllm-build may leave beside the ranks' engines and that a server loads.
ENGINE_PATTERNS = ("rank*_managed_weights.safetensors", "quant_cfg.json", "lora/**/*")


@dataclass(frozen=True, slots=True)
class Origin:
    """What the user states about an engine's origin.

    `unquantized` is needed if config.json names no quantization and no checkpoint confirms it: an
    engine that lost its quantization looks the same.
    """

    checkpoint: Path | None = None
    tokenizer: Path | None = None
    unquantized: bool = False


def verify_unmanaged(directory: Path, origin: Origin) -> EngineConfig:
    """Check an engine without a manifest for consistency, and against its checkpoint if named."""
    config = read_engine(directory)
    expected = config.quantization
    if origin.checkpoint:
        found = open_checkpoint(origin.checkpoint)
        if found.architecture != config.architecture:
            raise EngineMismatch(
                f"{directory} is an engine of a {config.architecture}, but {origin.checkpoint} "
                f"holds a {found.architecture}; name the checkpoint it was built from"
            )
        expected = found.quantization
    verify_engine(directory, config, expected)
    if not origin.checkpoint:
        _require_confirmation(directory, config, origin)
    return config


def adopt(directory: Path, name: str, origin: Origin) -> Manifest:
    """Verify it, add the tokenizer, and write the manifest last."""
    config = verify_unmanaged(directory, origin)
    try:
        _add_tokenizer(directory, config, origin)
        write_guide(directory)
        manifest = _manifest(directory, name, config)
        write_manifest(directory, manifest)
    except OSError as error:
        raise EngineError(
            f"{directory} cannot be completed: {error.strerror or error}; copy the engine to a "
            "writable directory and use that"
        ) from error
    return manifest


def _require_confirmation(directory: Path, config: EngineConfig, origin: Origin) -> None:
    algo = config.quantization.algo
    if algo is None and not origin.unquantized:
        raise QuantizationLost(
            f"{directory / CONFIG_FILE}: quant_algo is null, as in an engine that lost its "
            "quantization and generates garbage; name its checkpoint with --checkpoint DIR, or "
            f"confirm with --unquantized that its weights are {config.dtype}"
        )
    if algo is not None and origin.unquantized:
        raise EngineMismatch(
            f"{directory / CONFIG_FILE}: quant_algo is {algo!r}, which contradicts --unquantized; "
            "leave that out"
        )


def _add_tokenizer(directory: Path, config: EngineConfig, origin: Origin) -> None:
    """Copy the tokenizer into the engine, once all of it is known to fit."""
    source = _tokenizer_source(directory, origin)
    if source is None:
        if not (directory / TOKENIZER_FILE).exists():
            raise NotACheckpoint(
                f"{directory} has no {TOKENIZER_FILE}, which the server needs; "
                "name a directory that has one with --tokenizer DIR"
            )
        _require_vocabulary(directory, directory, config)
        return
    with TemporaryDirectory(prefix="enginix-tokenizer-") as staging:
        text = stage_text(source, Path(staging), TOKENIZER_PATTERNS)
        _require_vocabulary(text.directory, source, config)
        for path in sorted(Path(staging).iterdir()):
            write_whole(directory / path.name, path.read_bytes())


def _require_vocabulary(directory: Path, source: Path, config: EngineConfig) -> None:
    ids = len(read_vocabulary(directory))
    # The engine's vocabulary is padded, the tokenizer's is not.
    if config.vocabulary is not None and ids > config.vocabulary:
        raise EngineMismatch(
            f"{source / TOKENIZER_FILE} has {ids:,} tokens, but the engine's vocabulary has "
            f"{config.vocabulary:,}; it belongs to another model, name the right one with "
            "--tokenizer DIR"
        )


def _tokenizer_source(directory: Path, origin: Origin) -> Path | None:
    """The directory to copy the tokenizer from; None if the engine has its own."""
    if origin.tokenizer is None and (directory / TOKENIZER_FILE).exists():
        return None
    source = origin.tokenizer or origin.checkpoint
    return None if source is None or source.resolve() == directory.resolve() else source


def _manifest(directory: Path, name: str, config: EngineConfig) -> Manifest:
    files = {str(path.relative_to(directory)): _synced(path) for path in _files(directory, config)}
    return Manifest(
        name=name,
        kind="tensorrt-llm",
        architecture=config.architecture,
        source=Source(None, None, {}),
        quantization=config.quantization,
        parallelism=config.parallelism,
        limits=config.limits,
        built_with=BuiltWith(enginix=__version__, tensorrt_llm=config.version),
        files=files,
        chat=chat_format(HubFiles(directory).chat_templates.get("default")),
    )


def _files(directory: Path, config: EngineConfig) -> Iterator[Path]:
    """The files that are served; other files beside an engine may be logs and notes."""
    yield from (directory / name for name in (CONFIG_FILE, *config.rank_files))
    for pattern in ENGINE_PATTERNS:
        yield from (path for path in sorted(directory.glob(pattern)) if path.is_file())
    yield from tokenizer_files(directory)
    if (directory / GUIDE_FILE).exists():
        yield directory / GUIDE_FILE


def _synced(path: Path) -> int:
    """The file's size, after syncing it to disk for the manifest."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size
