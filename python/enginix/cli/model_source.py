"""Resolves a word of `enginix serve` to a model, and finds what is known of it before a build.

A word is a catalogue name, an engine's name, a repository of the hub, a directory or a .gguf file.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from enginix.catalog.load import ModelSpec, find_model
from enginix.checkpoint.architecture import FAMILIES, Sizes, read_sizes
from enginix.checkpoint.download import fetch_files
from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.listing import Listing
from enginix.checkpoint.load import Checkpoint, open_checkpoint
from enginix.checkpoint.locate import fetched_directory
from enginix.checkpoint.origin import read_origin
from enginix.checkpoint.quantization import LAYERS_FILE, LEGACY_FILE
from enginix.checkpoint.support import CheckedModel, judge_kinds
from enginix.cli.checkpoint_fetch import hub, list_repository, warn_if_unpinned
from enginix.cli.engine_gguf import LIMITS
from enginix.cli.environment import cache_home
from enginix.cli.find_checkpoint import REPOSITORY, find_checkpoint_directory, split_revision
from enginix.cli.find_engine import find_engine, given_engine
from enginix.errors import ModelUnknown, NotACheckpoint, NotAnEngine, UsageError
from enginix.manifest import read_manifest
from enginix.serve.choose_server import Offer
from enginix.serve.servers.program import Reads

WEIGHTS = ".safetensors"
CONFIG_FILE = Reads.CHECKPOINT.value
EXPECTED = (
    "a model of the catalogue (`enginix models`), a repository such as org/name, a directory with "
    "an engine or a checkpoint, or a .gguf file"
)


@dataclass(frozen=True, slots=True)
class ModelSource:
    name: str
    """The name that clients request."""
    reads: Reads
    """Its form: an engine, a checkpoint or a GGUF file."""
    path: Path
    """Its path, now or once it is fetched."""
    repo: str = ""
    """Its repository at the hub, which also names it."""
    spec: ModelSpec | None = None
    listing: Listing | None = None
    """The files still to fetch."""

    @property
    def described(self) -> str:
        if self.listing is not None:
            return f"{self.repo}@{self.listing.revision[:12]} at the hub"
        form = {Reads.ENGINE: "engine", Reads.GGUF: "file", Reads.CHECKPOINT: "checkpoint"}
        return f"the {form[self.reads]} {self.path}"

    @property
    def is_for_llama_cpp(self) -> bool:
        """Whether the catalogue's limits are for llama.cpp's engines."""
        return self.spec is not None and self.spec.kind == "gguf"


def find_source(word: str) -> ModelSource:
    """Raises UsageError, ModelUnknown or an error of the hub, which say what was found instead."""
    path = Path(word).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return ModelSource(path.stem, Reads.GGUF, path.absolute())
    if path.is_dir() and (source := _of_directory(path.absolute())):
        return source
    if path.exists() and "/" in word:
        raise UsageError(f"{word} is none of what can be served; expected {EXPECTED}")
    if "/" not in word and path.suffix != ".gguf":
        return _of_name(word)
    if not REPOSITORY.fullmatch(word) or path.suffix == ".gguf":
        raise UsageError(f"there is no {word}; expected {EXPECTED}")
    return _of_repository(*split_revision(word))


def offer_of(source: ModelSource, ranks: int, context: int | None) -> Offer:
    """What is known of the model: of a repository that is not here, only its configuration."""
    if source.reads is Reads.GGUF:
        return Offer(Reads.GGUF, weights=source.path.stat().st_size)
    if source.reads is Reads.ENGINE:
        manifest = read_manifest(source.path)
        size = sum(manifest.files.values())
        ranks = manifest.parallelism.world_size
        return Offer(Reads.ENGINE, kind=manifest.kind, weights=size, ranks=ranks)
    if source.listing is not None:
        return _of_listing(source, source.listing, ranks, context)
    found = inspect_checkpoint(open_checkpoint(source.path), tensor_parallel=ranks)
    return Offer(
        Reads.CHECKPOINT,
        refusals={kind: found.refusals(kind) for kind in found.kinds},
        algo=found.checkpoint.quantization.algo,
        weights=found.estimate.weights,
        cache=_cache(source, found.sizes, context),
        context=found.sizes.context if found.sizes else 0,
        builds=_builds(source, found.estimate.weights),
        preferred=source.spec.kind if source.spec else "",
    )


def limits_for(source: ModelSource, context: int | None) -> tuple[int, int]:
    """(requests at once, tokens of each) of an engine for llama.cpp.

    It allocates the cache of all of them, so that a longer context means fewer requests.
    """
    batch, length = LIMITS.max_batch_size, LIMITS.max_seq_len
    if source.spec and source.is_for_llama_cpp:
        variant = source.spec.variant()
        batch, length = variant.max_batch_size, variant.max_seq_len
    if context is None:
        return batch, length
    return max(1, min(batch, batch * length // context)), context


def _of_directory(path: Path) -> ModelSource | None:
    """None if nothing marks it as a model: the word may also be a name."""
    if (path / Reads.ENGINE.value).is_file():
        return ModelSource(read_manifest(path).name, Reads.ENGINE, path)
    if (path / Reads.CHECKPOINT.value).is_file():
        origin = read_origin(path)
        repo = origin.repo if origin else ""
        name = repo.rpartition("/")[2] or path.resolve().name
        return ModelSource(name, Reads.CHECKPOINT, path, repo)
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UsageError(f"{path} has {len(files)} .gguf files; name one of {names}")
    return ModelSource(files[0].stem, Reads.GGUF, files[0]) if files else None


def _of_name(name: str) -> ModelSource:
    engine = _engine(name)
    try:
        spec = find_model(name)
    except ModelUnknown:
        # Also the error for an unknown name: it knows the names of engines here.
        return ModelSource(name, Reads.ENGINE, find_engine(name))
    if engine and (given_engine(spec.name) or read_manifest(engine).kind != "gguf"):
        return ModelSource(spec.name, Reads.ENGINE, engine, spec=spec)
    if spec.source.repo is None:
        return ModelSource(spec.name, Reads.CHECKPOINT, find_checkpoint_directory(name), spec=spec)
    return _of_repository(spec.source.repo, spec.source.revision, spec)


def _engine(name: str) -> Path | None:
    try:
        return find_engine(name)
    except (NotAnEngine, ModelUnknown):
        return None


def _of_repository(repo: str, revision: str | None, spec: ModelSpec | None = None) -> ModelSource:
    """The copy on this machine comes first; `enginix pull` fetches a newer one."""
    name = spec.name if spec else repo.rpartition("/")[2]
    source = ModelSource(name, Reads.CHECKPOINT, Path(), repo, spec)
    try:
        word = f"{repo}@{revision}" if revision else repo
        return replace(source, path=find_checkpoint_directory(word))
    except NotACheckpoint:
        pass
    if (
        (engine := _engine(name))
        and (built := read_manifest(engine).source).repo == repo
        and (revision is None or (built.revision or "").startswith(revision))
    ):
        # An engine can be served without its checkpoint.
        return replace(source, reads=Reads.ENGINE, path=engine)
    listing = list_repository(repo, revision)
    if not any(file.name.endswith(WEIGHTS) for file in listing.files):
        raise NotACheckpoint(
            f"{repo} has no {WEIGHTS} files; expected a checkpoint in that format, or fetch a "
            ".gguf file of it and serve that"
        )
    warn_if_unpinned(spec.name if spec else repo, revision, listing, is_model=bool(spec))
    path = fetched_directory(cache_home(), repo, listing.revision)
    return replace(source, path=path, listing=listing)


def _of_listing(source: ModelSource, listing: Listing, ranks: int, context: int | None) -> Offer:
    checkpoint, sizes = _configuration(listing)
    model = CheckedModel(checkpoint, None, (), {}, {}, ranks, None)
    files = [file.size for file in listing.files if file.name.endswith(WEIGHTS)]
    return Offer(
        Reads.CHECKPOINT,
        refusals={kind: verdict.refusals for kind, verdict in judge_kinds(model).items()},
        algo=checkpoint.quantization.algo,
        weights=sum(files),
        cache=_cache(source, sizes, context),
        context=sizes.context if sizes else 0,
        fetches=listing.size_bytes,
        builds=_builds(source, sum(files)),
        preferred=source.spec.kind if source.spec else "",
    )


def _configuration(listing: Listing) -> tuple[Checkpoint, Sizes | None]:
    """The configuration of a repository whose weights are still at the hub; keeps no file."""
    wanted = (CONFIG_FILE, LEGACY_FILE, LAYERS_FILE)
    files = tuple(file for file in listing.files if file.name in wanted)
    if CONFIG_FILE not in {file.name for file in files}:
        raise NotACheckpoint(f"{listing.repo} has no {CONFIG_FILE}; expected a checkpoint")
    with TemporaryDirectory() as scratch:
        directory = Path(scratch) / "configuration"
        small = replace(listing, files=files)
        asyncio.run(fetch_files(hub(), small, directory, lambda _: None, with_origin=False))
        checkpoint = open_checkpoint(directory, with_weights=False)
        is_known = checkpoint.architecture in FAMILIES
        sizes = read_sizes(directory / CONFIG_FILE, checkpoint.config) if is_known else None
    return checkpoint, sizes


def _builds(source: ModelSource, weights: int) -> int:
    """0 if an engine of that name exists: it is served, or its successor replaces it."""
    return 0 if kept_engine(source.name).exists() else weights


def kept_engine(name: str) -> Path:
    """Where an engine that is built from a checkpoint is kept."""
    return cache_home() / "engines" / name


def _cache(source: ModelSource, sizes: Sizes | None, context: int | None) -> int:
    if sizes is None:
        return 0
    batch, length = limits_for(source, context)
    # Keys and values, in F16.
    return 2 * 2 * sizes.layers * sizes.kv_heads * sizes.head_size * batch * length
