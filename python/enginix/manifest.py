"""`manifest.json`: what an engine promises, and the only file the serve side reads of a build.

It is written last, so a directory without it is an unfinished build. Nothing in it
depends on the time or place of the build: the same inputs give the same bytes. What is measured
later is added to it, and does not count when engines are compared.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from enginix.errors import EngineDamaged, EngineError, NotAnEngine, engine_damaged
from enginix.records import decode, read_json, replace_text

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
ACCURACY = "accuracy"
WEIGHTS = (".engine", ".gguf", ".safetensors")
KINDS = ("tensorrt-llm", "gguf", "llmapi", "vllm", "edge-llm")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights came from: a hub repository at a revision, or a local directory."""

    repo: str | None
    revision: str | None
    files: dict[str, str]
    """File name -> sha256 of every checkpoint file that the engine was made from."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """The quantization of the weights; `algo` None means unquantized (BF16 or FP16)."""

    algo: str | None
    kv_cache_algo: str | None = None
    group_size: int | None = None
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parallelism:
    tp: int = 1
    pp: int = 1
    world_size: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_seq_len` is prompt plus answer; `max_num_tokens` is the batch of one step."""

    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int


@dataclass(frozen=True, slots=True)
class BuiltWith:
    enginix: str
    tensorrt_llm: str | None = None
    tensorrt: str | None = None
    cuda: str | None = None
    gpu_name: str | None = None
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """The model's chat formats: names of parsers in enginix.chat."""

    reasoning: str | None = None
    tools: str | None = None
    thinking_switch: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A prompt and the greedy answer this engine must give, as token ids."""

    prompt_ids: list[int]
    answer_ids: list[int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the engine was made, without paths or times of the machine.

    Words in capitals in the commands stand for directories. Nothing was calibrated: the weights
    are the checkpoint's.
    """

    command: list[str]
    """The enginix command, with every option written out."""
    program: list[str] = field(default_factory=list)
    """The command that compiled the engine."""
    options: dict[str, str] = field(default_factory=dict)
    """The options of this kind, with `auto` resolved."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Name -> version of the libraries that write the engine's bytes."""
    rank_checkpoint: dict[str, str] = field(default_factory=dict)
    """File name -> sha256 of the rank checkpoint that the engine was compiled from."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well the model predicts a text, as it was measured once."""

    perplexity: float
    text: str
    """The name of the text's file."""
    text_sha256: str
    tokens: int
    """How many of the text's tokens were scored."""
    context: int
    """Tokens of the windows in which the model read the text."""
    stride: int
    measured_with: dict[str, str]
    """Program -> version: of enginix, and of the library that ran the model, if known."""


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    kind: str
    architecture: str
    source: Source
    quantization: Quantization
    parallelism: Parallelism
    limits: Limits
    built_with: BuiltWith
    files: dict[str, int]
    """File name -> size in bytes of every file in the engine directory except the manifest."""
    chat: Chat = field(default_factory=Chat)
    check: list[Check] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)
    """File name -> sha256 of the same files; empty in older manifests."""
    recipe: Recipe | None = None
    """None in older manifests, and for engines that enginix did not build."""
    accuracy: Accuracy | None = None
    """The last measurement; the only field that may change after the build."""
    schema_version: int = SCHEMA_VERSION

    @property
    def weights_bytes(self) -> int:
        """The size of all files that hold weights, those of all ranks together."""
        return sum(size for name, size in self.files.items() if name.endswith(WEIGHTS))


def read_manifest(directory: Path) -> Manifest:
    try:
        _require_regular(directory / FILE_NAME)
        return read_manifest_file(directory / FILE_NAME)
    except FileNotFoundError:
        if not directory.exists():
            raise NotAnEngine(directory, "it does not exist") from None
        raise NotAnEngine(directory) from None
    except NotADirectoryError:
        raise NotAnEngine(directory, "it is not a directory") from None


def read_manifest_file(path: Path) -> Manifest:
    """A manifest file alone, without its engine; FileNotFoundError if it does not exist."""
    data = read_json(path, engine_damaged)
    found = data.get("schema_version") if isinstance(data, dict) else None
    if found != SCHEMA_VERSION:
        raise EngineError(
            f"{path} has schema version {found!r}, but this enginix reads {SCHEMA_VERSION}; "
            "build the engine again with this version"
        )
    manifest = decode(Manifest, data, str(path), engine_damaged)
    if manifest.kind not in KINDS:
        raise engine_damaged(
            f"{path}: kind: expected one of {', '.join(KINDS)}, got {manifest.kind!r}"
        )
    _check_numbers(manifest, path)
    _check_names(manifest, path)
    if manifest.accuracy and not math.isfinite(manifest.accuracy.perplexity):
        raise engine_damaged(f"{path}: accuracy: perplexity: expected a finite number")
    return manifest


def _require_regular(path: Path) -> None:
    """Reading a FIFO blocks for ever, and a device fills the memory."""
    # What cannot be looked at is reported by whoever reads it.
    with suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise engine_damaged(f"{path} is not a regular file")


def manifest_hash(directory: Path) -> str:
    """SHA-256 of the engine's manifest, in hexadecimal: what tells one engine from another.

    It is that of the manifest as it was built: a later measurement does not change it.
    """
    _require_regular(directory / FILE_NAME)
    data = read_json(directory / FILE_NAME, engine_damaged)
    if isinstance(data, dict):
        data.pop(ACCURACY, None)
    return hashlib.sha256(_text(data).encode("utf-8", "surrogatepass")).hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write atomically: a manifest is complete or absent."""
    replace_text(directory / FILE_NAME, _text(document(manifest)))


def document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON has it."""
    data = asdict(manifest)
    if manifest.accuracy is None:
        del data[ACCURACY]
    return data


def record_accuracy(directory: Path, accuracy: Accuracy, expected: str) -> None:
    """Write the measurement into the manifest, whose other fields stay as they are.

    EngineError if the manifest's hash is not `expected` any more; OSError if it is read-only.
    """
    path = directory / FILE_NAME
    if manifest_hash(directory) != expected:
        raise EngineError(
            f"{directory} was built again while it was measured, so the result is not recorded; "
            "measure it again"
        )
    # Also for root, whom permissions do not stop: a store such as Nix' must not change.
    if not directory.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    data = read_json(path, engine_damaged) | {ACCURACY: asdict(accuracy)}
    # Several may measure it at once.
    replace_text(path, _text(data), path.with_name(f".{FILE_NAME}.{os.getpid()}.partial"))


def _text(data: object) -> str:
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def check_files(directory: Path, manifest: Manifest) -> None:
    """Check that every file exists, is within the engine, and has its size; reads no content."""
    require_within(directory)
    for name, size in manifest.files.items():
        try:
            found = (directory / name).stat().st_size
        except OSError:
            raise engine_damaged(
                f"{directory / name} is missing, the manifest promises {size} bytes"
            ) from None
        if found != size:
            raise engine_damaged(
                f"{directory / name} has {found} bytes, the manifest promises {size}"
            )


def require_within(directory: Path) -> None:
    """Raise EngineDamaged for a link out of the engine, whose target would be served."""
    home = os.path.realpath(directory)
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise EngineDamaged(
                f"{path} is a link that leads out of the engine, to {os.path.realpath(path)}; put "
                "a copy of the file there, or build the engine again"
            )


def _check_numbers(manifest: Manifest, path: Path) -> None:
    for where, record in (("parallelism", manifest.parallelism), ("limits", manifest.limits)):
        for name, number in asdict(record).items():
            if number < 1:
                raise engine_damaged(f"{path}: {where}: {name}: expected at least 1, got {number}")


def _check_names(manifest: Manifest, path: Path) -> None:
    for where, names in (("files", manifest.files), ("sha256", manifest.sha256)):
        for name in names:
            parts = name.split("/")
            if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
                raise engine_damaged(
                    f"{path}: {where}: expected a path within the engine, got {name!r}"
                )
