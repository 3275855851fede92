"""Takes in an engine that trtllm-build made by hand: checks it, gives it a tokenizer, a manifest.

What its files cannot tell, such as the GPU it was built on, stays unknown in the manifest.
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
from enginix.engine.trtllm.engine_config import CONFIG_FILE, EngineFacts, read_engine
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

# What trtllm-build may leave beside the ranks' engines that a server loads.
ENGINE_PATTERNS = ("rank*_managed_weights.safetensors", "quant_cfg.json", "lora/**/*")


@dataclass(frozen=True, slots=True)
class Origin:
    """What the owner of an engine says about it.

    `unquantized` is needed where config.json names no quantization and no checkpoint confirms it:
    that is also what an engine looks like whose quantization was lost.
    """

    checkpoint: Path | None = None
    tokenizer: Path | None = None
    unquantized: bool = False


def verify_by_hand(directory: Path, origin: Origin) -> EngineFacts:
    """Hold an engine without a manifest to itself, and to the checkpoint it should be of."""
    facts = read_engine(directory)
    promised = facts.quantization
    if origin.checkpoint:
        found = open_checkpoint(origin.checkpoint)
        if found.architecture != facts.architecture:
            raise EngineMismatch(
                f"{directory} is an engine of a {facts.architecture}, {origin.checkpoint} holds a "
                f"{found.architecture}; name the checkpoint it was built from"
            )
        promised = found.quantization
    verify_engine(directory, facts, promised)
    if not origin.checkpoint:
        _require_word(directory, facts, origin)
    return facts


def take_in(directory: Path, name: str, origin: Origin) -> Manifest:
    """Verify it, complete it and write its manifest, last."""
    facts = verify_by_hand(directory, origin)
    try:
        _give_tokenizer(directory, facts, origin)
        write_guide(directory)
        manifest = _manifest(directory, name, facts)
        write_manifest(directory, manifest)
    except OSError as error:
        raise EngineError(
            f"{directory} cannot be completed: {error.strerror or error}; copy the engine to a "
            "place you may write to, and take that in"
        ) from error
    return manifest


def _require_word(directory: Path, facts: EngineFacts, origin: Origin) -> None:
    algo = facts.quantization.algo
    if algo is None and not origin.unquantized:
        raise QuantizationLost(
            f"{directory / CONFIG_FILE}: quant_algo is null, as in an engine whose quantization "
            "was lost on the way, which answers garbage; name what it was built from with "
            f"--checkpoint DIR, or say with --unquantized that its weights are plain {facts.dtype}"
        )
    if algo is not None and origin.unquantized:
        raise EngineMismatch(
            f"{directory / CONFIG_FILE}: quant_algo is {algo!r}, and --unquantized says there is "
            "none; leave that out"
        )


def _give_tokenizer(directory: Path, facts: EngineFacts, origin: Origin) -> None:
    """Leave nothing in the engine before the whole tokenizer is known to fit it."""
    source = _tokenizer_source(directory, origin)
    if source is None:
        if not (directory / TOKENIZER_FILE).exists():
            raise NotACheckpoint(
                f"{directory} has no {TOKENIZER_FILE}, and without it no text becomes tokens; "
                "name a directory that has one with --tokenizer DIR"
            )
        _require_vocabulary(directory, directory, facts)
        return
    with TemporaryDirectory(prefix="enginix-tokenizer-") as place:
        text = stage_text(source, Path(place), TOKENIZER_PATTERNS)
        _require_vocabulary(text.directory, source, facts)
        for path in sorted(Path(place).iterdir()):
            write_whole(directory / path.name, path.read_bytes())


def _require_vocabulary(place: Path, source: Path, facts: EngineFacts) -> None:
    ids = len(read_vocabulary(place))
    # An engine's vocabulary is padded, a tokenizer's is not.
    if facts.vocabulary is not None and ids > facts.vocabulary:
        raise EngineMismatch(
            f"{source / TOKENIZER_FILE} has {ids:,} tokens, the engine's vocabulary has "
            f"{facts.vocabulary:,}; it belongs to another model, name the right one with "
            "--tokenizer DIR"
        )


def _tokenizer_source(directory: Path, origin: Origin) -> Path | None:
    """Where the tokenizer is taken from; None when the engine has its own."""
    if origin.tokenizer is None and (directory / TOKENIZER_FILE).exists():
        return None
    source = origin.tokenizer or origin.checkpoint
    return None if source is None or source.resolve() == directory.resolve() else source


def _manifest(directory: Path, name: str, facts: EngineFacts) -> Manifest:
    files = {str(path.relative_to(directory)): _synced(path) for path in _files(directory, facts)}
    return Manifest(
        name=name,
        kind="tensorrt-llm",
        architecture=facts.architecture,
        source=Source(None, None, {}),
        quantization=facts.quantization,
        parallelism=facts.parallelism,
        limits=facts.limits,
        built_with=BuiltWith(enginix=__version__, tensorrt_llm=facts.version),
        files=files,
        chat=chat_format(HubFiles(directory).chat_templates.get("default")),
    )


def _files(directory: Path, facts: EngineFacts) -> Iterator[Path]:
    """Only what is served: people keep logs and notes beside their engines."""
    yield from (directory / name for name in (CONFIG_FILE, *facts.rank_files))
    for pattern in ENGINE_PATTERNS:
        yield from (path for path in sorted(directory.glob(pattern)) if path.is_file())
    yield from tokenizer_files(directory)
    if (directory / GUIDE_FILE).exists():
        yield directory / GUIDE_FILE


def _synced(path: Path) -> int:
    """Its size, once it is on the disk: nothing is promised before."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size
