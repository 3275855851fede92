"""From what a client wants loaded to the entry of a profile that would have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.errors import EngineError, ModelNotFound, ModelUnknown, NotAnEngine, RequestError
from enginix.manifest import Manifest, read_manifest
from enginix.serve.profile import ENGINES, ModelEntry
from enginix.serve.roots import allowed_path

# Engine kind -> who serves it here.
ENGINE_OF_KIND = {"tensorrt-llm": "triton", "gguf": "triton", "llmapi": "trtllm", "vllm": "vllm"}
# What a server needs to find in a model's directory.
NEEDED = {"llamacpp": "model.gguf", "trtllm": "config.json", "vllm": "config.json"}
# They take their memory when they start, by a share of it.
TAKE_A_SHARE = ("trtllm", "vllm")

LARGE_MODEL_SECONDS, SMALL_MODEL_SECONDS = 1800.0, 120.0
DEFAULT_MEMORY = 0.9
DEFAULT_MODEL_LEN = 8192


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """The body of /v1/models/load; None is what was left out."""

    model: str | None = None
    model_path: str | None = None
    engine: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None


def entry_of(
    wish: LoadRequest, entries: Mapping[str, ModelEntry], roots: Sequence[Path]
) -> ModelEntry:
    """An entry that is there already, changed as requested, or a new one whose ports are all 0."""
    if wish.engine is not None and wish.engine not in ENGINES:
        raise _mistake("engine", f"expected one of {', '.join(ENGINES)}, got {wish.engine!r}")
    if wish.model_path is not None:
        entry = _by_path(wish, allowed_path(wish.model_path, roots), entries)
    else:
        entry = _by_name(wish, entries)
    return _with_limits(entry, wish)


def _by_path(wish: LoadRequest, path: Path, entries: Mapping[str, ModelEntry]) -> ModelEntry:
    manifest = _manifest(path)
    name = wish.model or (manifest.name if manifest else path.name)
    engine = wish.engine or (ENGINE_OF_KIND[manifest.kind] if manifest else None)
    if engine is None:
        raise _mistake("engine", f"it is missing, and {path} is no engine that says it: send one")
    _check_fits(engine, path, manifest)
    there = entries.get(name)
    if there is None:
        return _new(name, engine, path=str(path))
    if (there.path, there.engine) != (str(path), engine):
        raise _mistake("model", f"{name} is another model here; send another name as model")
    return there


def _by_name(wish: LoadRequest, entries: Mapping[str, ModelEntry]) -> ModelEntry:
    if wish.model is None:
        raise _mistake("model", "neither it nor model_path was sent; send one of them")
    there = [entry for entry in entries.values() if wish.model in (entry.name, *entry.aliases)]
    for entry in sorted(there, key=lambda entry: entry.name != wish.model):
        if wish.engine in (None, entry.engine):
            return entry
    if there:
        served = " and ".join(f"{entry.name} is served by {entry.engine} here" for entry in there)
        raise _mistake("engine", f"{served}, not by {wish.engine}; leave engine out")
    try:
        spec = find_model(wish.model)
    except ModelUnknown:
        raise ModelNotFound(wish.model, entries) from None
    engine = wish.engine or ENGINE_OF_KIND[spec.kind]
    if spec.name in entries:
        return entries[spec.name]
    return replace(_new(spec.name, engine), aliases=[wish.model] if wish.model != spec.name else [])


def _new(name: str, engine: str, path: str = "") -> ModelEntry:
    takes = engine in TAKE_A_SHARE
    return ModelEntry(
        name=name,
        engine=engine,
        path=path,
        ready_seconds=LARGE_MODEL_SECONDS if takes else SMALL_MODEL_SECONDS,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        memory=DEFAULT_MEMORY if takes else 0.0,
        max_model_len=0 if engine == "triton" else DEFAULT_MODEL_LEN,
    )


def _with_limits(entry: ModelEntry, wish: LoadRequest) -> ModelEntry:
    changes: dict[str, object] = {}
    if wish.max_model_len is not None:
        if entry.engine == "triton":
            raise _mistake("max_model_len", "an engine's limits are built into it; leave it out")
        changes["max_model_len"] = wish.max_model_len
    if wish.dtype is not None:
        if entry.engine not in TAKE_A_SHARE:
            raise _mistake("dtype", "an engine's types are built into it; leave it out")
        changes["dtype"] = wish.dtype
    # It has a default that clients send to every engine; here it means nothing to two of them.
    if wish.gpu_memory_utilization is not None and entry.engine in TAKE_A_SHARE:
        changes["memory"] = wish.gpu_memory_utilization
    return replace(entry, **changes)  # type: ignore[arg-type]


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except NotAnEngine:
        return None
    except EngineError as error:
        raise _mistake("model_path", str(error)) from None


def _check_fits(engine: str, path: Path, manifest: Manifest | None) -> None:
    if engine == "triton":
        if manifest is None or ENGINE_OF_KIND[manifest.kind] != "triton":
            raise _mistake("model_path", f"{path} is no engine that Triton serves; build one")
        return
    if not (path / NEEDED[engine]).is_file():
        raise _mistake(
            "model_path", f"{ENGINES[engine]} needs {NEEDED[engine]}, which is not in {path}"
        )


def _mistake(param: str, words: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param)
