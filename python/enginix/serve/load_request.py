"""Turns a load request into a profile entry: a known one, changed if need be, or a new one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.errors import (
    EngineError,
    ModelNotFound,
    ModelUnknown,
    NotAnEngine,
    RequestError,
    UsageError,
)
from enginix.manifest import Manifest, read_manifest
from enginix.serve.drafts import check_drafting
from enginix.serve.model_entry import ModelEntry, wrong_name
from enginix.serve.roots import allowed_path
from enginix.serve.servers import SERVERS, server_for_form, server_for_kind
from enginix.serve.servers.program import Reads
from enginix.speculative import Speculative
from enginix.supervision import LoadRequest

DEFAULT_MODEL_LEN = 8192
# Neither a path nor a hidden file.
PLAIN = re.compile(r"\w[\w.:+-]*")


def entry_of(
    request: LoadRequest, entries: Mapping[str, ModelEntry], roots: Sequence[Path]
) -> ModelEntry:
    """A known entry, changed as requested, or a new one with all ports 0."""
    if request.engine is not None:
        named = [each.name for each in SERVERS.values() if request.engine in each.names]
        if not named:
            expected = ", ".join(SERVERS)
            raise _mistake("engine", f"expected one of {expected}, got {request.engine!r}")
        request = replace(request, engine=named[0])
    if request.model_path is None:
        request = _found_in(roots, request, entries)
    if request.model_path is not None:
        entry = _by_path(request, allowed_path(request.model_path, roots), entries)
    else:
        entry = _by_name(request, entries)
    return _with_limits(entry, request, roots)


def _found_in(
    roots: Sequence[Path], request: LoadRequest, entries: Mapping[str, ModelEntry]
) -> LoadRequest:
    """The path in the roots of a name that is neither loaded nor in the catalogue."""
    word = request.model
    if word is None or not PLAIN.fullmatch(word) or _is_known(word, entries):
        return request
    for root in roots:
        if (root / word / Reads.ENGINE.value).is_file():
            return replace(request, model_path=str(root / word))
        if word.endswith(".gguf") and (root / word).is_file():
            return replace(request, model=None, model_path=str(root / word))
    return request


def _is_known(word: str, entries: Mapping[str, ModelEntry]) -> bool:
    if any(word in (entry.name, *entry.aliases) for entry in entries.values()):
        return True
    try:
        find_model(word)
    except ModelUnknown:
        return False
    return True


def _by_path(request: LoadRequest, path: Path, entries: Mapping[str, ModelEntry]) -> ModelEntry:
    is_gguf = path.suffix == ".gguf" and path.is_file()
    manifest = None if is_gguf else _manifest(path)
    name = request.model or (manifest.name if manifest else path.stem if is_gguf else path.name)
    engine = request.engine or (server_for_kind(manifest.kind).name if manifest else None)
    if is_gguf:
        engine = engine or server_for_form(Reads.GGUF).name
    if engine is None:
        raise _mistake("engine", f"it is missing, and {path} is no engine that says it: send one")
    _check_fits(engine, path, manifest)
    known = entries.get(name)
    if known is None:
        if why := wrong_name(name):
            raise _mistake("model", why)
        # Requests may also name it by the path that was sent.
        aliases = [requested] if (requested := str(request.model_path)) != str(path) else []
        return replace(new_entry(name, engine, path=str(path)), aliases=aliases)
    if (known.path, known.engine) != (str(path), engine):
        raise _mistake("model", f"{name} is another model here; send another name as model")
    return known


def _by_name(request: LoadRequest, entries: Mapping[str, ModelEntry]) -> ModelEntry:
    if request.model is None:
        raise _mistake("model", "neither it nor model_path was sent; send one of them")
    known = [entry for entry in entries.values() if request.model in (entry.name, *entry.aliases)]
    for entry in sorted(known, key=lambda entry: entry.name != request.model):
        if request.engine in (None, entry.engine):
            return entry
    if known:
        served = " and ".join(f"{entry.name} is served by {entry.engine} here" for entry in known)
        raise _mistake("engine", f"{served}, not by {request.engine}; leave engine out")
    try:
        spec = find_model(request.model)
    except ModelUnknown:
        raise ModelNotFound(request.model, entries) from None
    engine = request.engine or server_for_kind(spec.kind).name
    if spec.name in entries:
        return entries[spec.name]
    return replace(
        new_entry(spec.name, engine), aliases=[request.model] if request.model != spec.name else []
    )


def new_entry(name: str, engine: str, path: str = "") -> ModelEntry:
    """An entry with its server's defaults, whose ports are still to be chosen."""
    server = SERVERS[engine]
    return ModelEntry(
        name=name,
        engine=engine,
        path=path,
        ready_seconds=server.ready_seconds,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        memory=server.memory,
        max_model_len=0 if server.reads is Reads.ENGINE else DEFAULT_MODEL_LEN,
    )


def _with_limits(entry: ModelEntry, request: LoadRequest, roots: Sequence[Path]) -> ModelEntry:
    server = SERVERS[entry.engine]
    changes: dict[str, object] = {}
    if request.max_model_len is not None:
        if server.reads is Reads.ENGINE:
            raise _mistake("max_model_len", "an engine's limits are built into it; leave it out")
        changes["max_model_len"] = request.max_model_len
    if request.dtype is not None:
        if server.reads is not Reads.CHECKPOINT:
            raise _mistake("dtype", "an engine's types are built into it; leave it out")
        changes["dtype"] = request.dtype
    # Clients send its default to every engine; servers that take no share ignore it.
    if request.speculative is not None:
        changes["speculative"] = _drafts(request.speculative, entry, roots)
    if request.gpu_memory_utilization is not None and server.memory:
        changes["memory"] = request.gpu_memory_utilization
    return replace(entry, **changes)  # type: ignore[arg-type]


def _drafts(drafts: Speculative, entry: ModelEntry, roots: Sequence[Path]) -> Speculative:
    """Clients may name a model of the catalogue as the draft, or a path in the roots."""
    try:
        check_drafting(entry, entry.name, drafts)
    except UsageError as error:
        raise RequestError(str(error), param="speculative") from None
    if not drafts.model:
        return drafts
    try:
        return replace(drafts, model=find_model(drafts.model).name)
    except ModelUnknown:
        path = allowed_path(drafts.model, roots, "speculative.model")
        return replace(drafts, model=str(path))


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except NotAnEngine:
        return None
    except EngineError as error:
        raise _mistake("model_path", str(error)) from None


def _check_fits(engine: str, path: Path, manifest: Manifest | None) -> None:
    server = SERVERS[engine]
    if server.reads is Reads.GGUF and path.is_file():
        return
    if server.reads is Reads.ENGINE:
        if manifest is None or manifest.kind not in server.engine_kinds:
            raise _mistake(
                "model_path", f"{path} is no engine that {server.title} serves; build one"
            )
    elif not (path / server.reads.value).is_file():
        raise _mistake(
            "model_path", f"{server.title} needs {server.reads.value}, which is not in {path}"
        )


def _mistake(param: str, problem: str) -> RequestError:
    return RequestError(f"{param}: {problem}", param=param)
