"""Makes what a profile's model needs before it can be served: checkpoint, runtime and engine."""

from __future__ import annotations

from pathlib import Path

from enginix import __version__
from enginix.catalog.load import ModelSpec, find_model
from enginix.checkpoint.load import hash_files
from enginix.checkpoint.locate import find_checkpoint
from enginix.cli.engine import build_model
from enginix.cli.find_engine import find_engine, given_engine
from enginix.cli.pull import pull
from enginix.cli.views.stages import StageLines
from enginix.cli.views.told import tell
from enginix.errors import EnginixError, NotACheckpoint, NotAnEngine
from enginix.manifest import check_files, read_manifest
from enginix.runtimes.make import make_runtime
from enginix.runtimes.runtime import TRITON_CPU
from enginix.serve.environment import Environment
from enginix.serve.model_entry import ModelEntry
from enginix.serve.model_server import engine_directory
from enginix.serve.servers import SERVERS
from enginix.serve.servers.program import Reads


def make_missing(entry: ModelEntry, here: Environment) -> None:
    """Fetch the checkpoint, and build the engine, that `prepare` only asks for."""
    if entry.path or not entry.replicas_here:
        return
    spec = find_model(entry.model)
    reads_checkpoint = SERVERS[entry.engine].reads is Reads.CHECKPOINT
    if not reads_checkpoint and _has_engine(spec.name):
        return
    try:
        find_checkpoint(spec, here.home)
    except NotACheckpoint:
        tell("fetched", str(pull(spec.name)))
    if not reads_checkpoint and spec.kind != "gguf":
        _build(spec, engine_directory(spec.name, here))


def _has_engine(name: str) -> bool:
    try:
        find_engine(name)
    except NotAnEngine:
        return False
    return True


def prepare(entry: ModelEntry, here: Environment) -> None:
    """Make the model's runtime and engine if they are missing."""
    reads = SERVERS[entry.engine].reads
    # The gateway needs an engine's tokenizer, wherever it is served.
    if reads is Reads.CHECKPOINT or (reads is Reads.GGUF and not entry.replicas_here):
        return
    if entry.path:
        is_gguf = reads is Reads.GGUF or read_manifest(Path(entry.path)).kind == "gguf"
        if is_gguf and entry.replicas_here:
            prepare_runtime(here)
        return
    spec = find_model(entry.model)
    if spec.kind != "gguf":
        tell("engine", str(find_engine(spec.name)))
        return
    if entry.replicas_here:
        prepare_runtime(here)
    if given_engine(spec.name):
        return
    engine = engine_directory(spec.name, here)
    if not _is_current(spec, engine):
        _build(spec, engine)
    tell("engine", str(engine))


def prepare_runtime(here: Environment) -> None:
    if here.runtime(TRITON_CPU.kind) is None:
        make_runtime(TRITON_CPU, here.home, lambda line: tell("runtime", line))


def _build(spec: ModelSpec, engine: Path) -> None:
    lines = StageLines()
    try:
        build_model(spec, engine, lines)
    finally:
        lines.clear()


def _is_current(spec: ModelSpec, engine: Path) -> bool:
    """Whether this enginix built it from the current checkpoint, and no file is missing."""
    try:
        manifest = read_manifest(engine)
        check_files(engine, manifest)
    except EnginixError:
        return False
    # `enginix serve --context` builds engines with other limits.
    if manifest.built_with.enginix != __version__ or manifest.limits != spec.variant().limits:
        return False
    checkpoint = spec.source.directory
    return checkpoint is None or hash_files(checkpoint) == manifest.source.files
