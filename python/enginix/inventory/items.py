"""What enginix keeps in its home: engines, checkpoints and runtimes, and how they depend on each
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginix.catalog.load import ModelSpec, load_catalog
from enginix.checkpoint.load import read_config
from enginix.checkpoint.locate import checkpoint_home
from enginix.checkpoint.origin import read_origin
from enginix.checkpoint.quantization import read_quantization
from enginix.errors import EnginixError
from enginix.inventory.disk import measure
from enginix.inventory.running import Process, other_processes, supervisors
from enginix.manifest import Manifest, check_files, read_manifest
from enginix.runtimes.find import read_record, runtime_root
from enginix.runtimes.runtime import TRITON_CPU

UNQUANTIZED = "not quantized"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be listed, named and removed."""

    what: str
    """`engine`, `checkpoint` or `runtime`."""
    name: str
    """Its name in commands."""
    path: Path
    size_bytes: int
    last_used: float
    """Seconds since the epoch, to the day."""
    detail: str = ""
    """An engine's kind, a checkpoint's architecture, a runtime's version."""
    quantization: str | None = None
    repo: str | None = None
    revision: str | None = None
    """The commit."""
    pinned: bool = False
    """Whether the catalogue names exactly this commit."""
    made_from: str | None = None
    """What an engine was built from."""
    needed_by: tuple[str, ...] = ()
    """Engines that were built from it, or that it serves."""
    in_use_by: tuple[str, ...] = ()
    """Processes and supervisors that use it now."""
    note: str | None = None
    """Why it cannot be used."""

    @property
    def users(self) -> str:
        """Its first user, and the number of others."""
        more = len(self.in_use_by) - 1
        return self.in_use_by[0] + (f" and {more} more" if more else "")


def take_inventory(home: Path) -> list[Item]:
    """Engines, then checkpoints, then runtimes, each sorted by name."""
    catalog = load_catalog()
    pinned = {spec.source.revision for spec in catalog.values() if spec.source.pinned}
    checkpoints = [_checkpoint(path, pinned) for path in _visible(checkpoint_home(home))]
    engines = [_engine(path, catalog, pinned, checkpoints) for path in _visible(home / "engines")]
    runtimes = [_runtime(path) for path in _visible(home / "runtimes")]
    items = [
        *engines,
        *(replace(item, needed_by=_made_from(item, engines)) for item in checkpoints),
        *(replace(item, needed_by=_served_by(item, engines, home)) for item in runtimes),
    ]
    return list(_with_users(items, home))


def _visible(directory: Path) -> list[Path]:
    """The complete directories: unfinished ones have a hidden name, or .partial."""
    return [
        path
        for path in sorted(directory.glob("*"))
        if path.is_dir() and not path.name.startswith(".") and path.suffix != ".partial"
    ]


def _measured(what: str, name: str, path: Path) -> Item:
    found = measure(path)
    return Item(what, name, path, found.size_bytes, found.last_used)


def _engine(
    path: Path, catalog: dict[str, ModelSpec], pinned: set[str | None], others: Sequence[Item]
) -> Item:
    item = _measured("engine", path.name, path)
    try:
        manifest = read_manifest(path)
    except EnginixError as error:
        return replace(item, note=str(error))
    source = manifest.source
    item = replace(
        item,
        detail=manifest.kind,
        quantization=manifest.quantization.algo or UNQUANTIZED,
        repo=source.repo,
        revision=source.revision,
        pinned=source.revision in pinned and source.revision is not None,
        made_from=_source(manifest, catalog, others),
    )
    try:
        check_files(path, manifest)
    except EnginixError as error:
        return replace(item, note=str(error))
    return item


def _source(manifest: Manifest, catalog: dict[str, ModelSpec], others: Sequence[Item]) -> str:
    source = manifest.source
    if source.repo is None:
        spec = catalog.get(manifest.name)
        shipped = spec is not None and spec.source.directory is not None
        return "the checkpoint shipped with enginix" if shipped else "a local directory"
    for item in others:
        if (item.repo, item.revision) == (source.repo, source.revision):
            return item.name
    return f"{source.repo}@{source.revision[:12]}" if source.revision else source.repo


def _checkpoint(path: Path, pinned: set[str | None]) -> Item:
    repository, _, commit = path.name.rpartition("@")
    repo = repository.replace("--", "/", 1)
    item = _measured("checkpoint", f"{repo}@{commit}", path)
    try:
        if origin := read_origin(path):
            is_pinned = origin.revision in pinned
            name = f"{origin.repo}@{commit}"
            item = replace(
                item, name=name, repo=origin.repo, revision=origin.revision, pinned=is_pinned
            )
        config = read_config(path)
        algo = read_quantization(path, config).quantization.algo
    except EnginixError as error:
        return replace(item, note=str(error))
    architectures = config.get("architectures")
    detail = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    return replace(item, detail=detail, quantization=algo or UNQUANTIZED)


def _runtime(path: Path) -> Item:
    item = _measured("runtime", path.name, path)
    try:
        record = read_record(path)
    except EnginixError as error:
        return replace(item, note=str(error))
    return replace(item, detail=f"{record.kind} {record.version}" if record else "")


def _made_from(item: Item, engines: Sequence[Item]) -> tuple[str, ...]:
    return tuple(engine.name for engine in engines if engine.made_from == item.name)


def _served_by(item: Item, engines: Sequence[Item], home: Path) -> tuple[str, ...]:
    if item.path != runtime_root(TRITON_CPU, home):
        return ()
    return tuple(engine.name for engine in engines if engine.detail == "gguf")


def _with_users(items: Sequence[Item], home: Path) -> Iterator[Item]:
    processes = other_processes()
    served = {
        engine: f"`enginix up` of {each.profile} on port {each.port}"
        for each in supervisors(home)
        for engine in each.engines()
    }
    for item in items:
        users = [process.name for process in processes if _is_used(item, process)]
        if not users and str(item.path) in served:
            # The process runs in another container that shares this home.
            users = [served[str(item.path)]]
        yield replace(item, in_use_by=tuple(users))


def _is_used(item: Item, process: Process) -> bool:
    # `enginix triton NAME` by itself: TensorRT-LLM closes an engine's files once it has read them.
    if item.what == "engine" and process.serves(item.name):
        return True
    return process.uses(str(item.path)) or process.uses(str(item.path.resolve()))
