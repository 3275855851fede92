"""Profiles without a file of their own: of a `models.json`, or of one catalogue model.

{"models": {"NAME": {"engine": "vllm", "model_path": "DIR", "max_batch_size": 8, ...}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from enginix.catalog.load import find_model
from enginix.errors import EngineError, UsageError
from enginix.manifest import read_manifest
from enginix.records import decode
from enginix.serve.load_request import entry_of
from enginix.serve.model_entry import ModelEntry, Option
from enginix.serve.profile import Profile, check
from enginix.serve.servers import server_called
from enginix.serve.servers.program import Reads, ServerProgram
from enginix.speculative import Speculative
from enginix.supervision import LoadRequest

# The name is also a log file's.
NAME = re.compile(r"[\w][\w.:+-]*")
# The servers' numbers have 32 bits.
LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the file; 0 and '' stand for absent keys."""

    engine: str
    model_path: str
    max_batch_size: int = 0
    max_input_len: int = 0
    max_output_len: int = 0
    dtype: str = ""
    tensor_parallel_size: int = 1
    replicas: int = 0
    endpoints: list[str] = field(default_factory=list)
    task: str = "generate"
    speculative: Speculative | None = None
    adapters: dict[str, str] = field(default_factory=dict)


def read_models_file(path: Path, *only: str) -> Profile:
    """Its models, or only those, as a profile whose ports are all still to be chosen."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"{path} cannot be read: {reason}; expected a file of models, name one with --models"
        ) from None
    rows = _rows(text, str(path))
    for each in only:
        if each not in rows:
            known = ", ".join(rows) or "none"
            raise UsageError(f"{path} has no model {each!r}; it has {known}")
    if only:
        rows = {each: rows[each] for each in only}
    models = [_entry(name, row, path) for name, row in rows.items()]
    # A part of the control socket's path, which may not be long.
    name = f"{path.stem}-{only[0]}" if len(only) == 1 else path.stem
    # No sample question: not every model is a chat model.
    profile = Profile(name, f"the models of {path}", models, hello="")
    check(profile, str(path))
    return profile


def catalogue_profile(names: Sequence[str], engine: str | None = None) -> Profile:
    """Models of the catalogue, served by `engine` or by the server of their kind."""
    server = server_called(engine, "--engine") if engine is not None else None
    entries = []
    for name in names:
        request = LoadRequest(model=find_model(name).name, engine=server.name if server else None)
        entries.append(entry_of(request, {}, []))
    title = f"{', '.join(entry.name for entry in entries)} of the catalogue"
    profile = Profile(entries[0].name if len(entries) == 1 else "models", title, entries, hello="")
    check(profile, "--model")
    return profile


def _rows(text: str, where: str) -> dict[str, Any]:
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UsageError(f"{where}: {key!r} is there twice; give each model its own name")
            found[key] = value
        return found

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{where}: line {error.lineno}, column {error.colno}: {error.msg}; expected JSON"
        ) from None
    except RecursionError:
        raise UsageError(f"{where}: it is nested too deeply") from None
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise UsageError(f'{where}: expected {{"models": {{NAME: {{...}}}}}}, found {_shape(data)}')
    if unknown := sorted(data.keys() - {"models"}):
        raise UsageError(f"{where}: unknown keys {unknown} beside models")
    if not data["models"]:
        raise UsageError(f"{where}: models is empty; expected at least one")
    return dict(data["models"])


def _shape(data: object) -> str:
    if not isinstance(data, dict):
        return f"a {type(data).__name__}"
    if "models" in data:
        return f"models to be a {type(data['models']).__name__}"
    return f"the keys {', '.join(map(repr, data)) or 'none'}"


def _entry(name: str, data: object, file: Path) -> ModelEntry:
    where = f"{file}: {name or '(no name)'}"
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{where}: expected a name of letters, digits and . : + - _, beginning with a letter "
            "or digit"
        )
    row = _row(data, where)
    server = server_called(row.engine, f"{where}: engine")
    path = _path(row, server.reads, file.parent, where)
    # Ports that are 0 are chosen at its start.
    entry = ModelEntry(
        name,
        server.name,
        path=str(path),
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        ready_seconds=server.ready_seconds,
        replicas=row.replicas or None,
        endpoints=row.endpoints,
        task=row.task,
        speculative=_drafts(row, file.parent),
        adapters={
            each: str((file.parent / Path(text).expanduser()).absolute())
            for each, text in row.adapters.items()
        },
    )
    if server.reads is Reads.ENGINE:
        _check_engine(row, path, where)
        return entry
    if server.reads is Reads.GGUF and row.dtype not in ("", "auto"):
        raise UsageError(f"{where}: dtype: a GGUF's types are its own; leave it out")
    return replace(
        entry,
        options=_options(row, server, where),
        dtype="" if server.reads is Reads.GGUF else row.dtype,
        max_model_len=row.max_input_len + row.max_output_len,
    )


def _drafts(row: Row, directory: Path) -> Speculative | None:
    """A path in it is relative to the file, as those of models are."""
    drafts = row.speculative
    if drafts and drafts.model and (path := directory / Path(drafts.model).expanduser()).exists():
        return replace(drafts, model=str(path.absolute()))
    return drafts


def _options(row: Row, server: ServerProgram, where: str) -> dict[str, Option]:
    options: dict[str, Option] = {}
    if row.max_batch_size and server.slots:
        options[server.slots] = row.max_batch_size
    if row.tensor_parallel_size > 1:
        if not server.ranks:
            raise UsageError(
                f"{where}: tensor_parallel_size: {server.title} here runs on one device; "
                "leave it out"
            )
        options[server.ranks] = row.tensor_parallel_size
    return options


def _row(data: object, where: str) -> Row:
    names = [item.name for item in fields(Row)]
    if isinstance(data, dict) and (unknown := sorted(data.keys() - set(names))):
        raise UsageError(f"{where}: unknown keys {unknown}; expected some of {', '.join(names)}")
    row = decode(Row, data, where, UsageError)
    for key, value in data.items() if isinstance(data, dict) else ():
        if isinstance(value, int) and not 1 <= value <= LARGEST:
            bound = "at least 1" if value < 1 else f"at most {LARGEST}"
            raise UsageError(f"{where}: {key}: expected {bound}, got {value}")
    if bool(row.max_input_len) != bool(row.max_output_len):
        raise UsageError(
            f"{where}: max_input_len and max_output_len make the context together; give both"
        )
    return row


def _path(row: Row, reads: Reads, directory: Path, where: str) -> Path:
    """The model's directory; relative paths start from the file's directory."""
    path = (directory / Path(row.model_path).expanduser()).absolute()
    if reads is Reads.GGUF and path.suffix == ".gguf" and path.is_file():
        return path
    needed = reads.value
    if not path.is_dir():
        found = "is a file" if path.exists() else "is not there"
        raise UsageError(
            f"{where}: model_path: {path} {found}; expected a directory with {needed} in it"
        )
    if not (path / needed).is_file():
        raise UsageError(
            f"{where}: model_path: {path} has no {needed}, which {row.engine} needs; name another "
            "directory, or another engine"
        )
    return path


def _check_engine(row: Row, path: Path, where: str) -> None:
    """An engine's limits are built into it: the file cannot raise them."""
    try:
        manifest = read_manifest(path)
    except EngineError as error:
        raise UsageError(f"{where}: {error}") from None
    limits, ranks = manifest.limits, manifest.parallelism.tp
    context = row.max_input_len + row.max_output_len
    if row.max_batch_size > limits.max_batch_size or context > limits.max_seq_len:
        raise UsageError(
            f"{where}: the engine in {path} was built for {limits.max_batch_size} requests of "
            f"{limits.max_seq_len} tokens at once, not for {row.max_batch_size} of {context}; ask "
            "for less, or build another"
        )
    if row.tensor_parallel_size not in (1, ranks):
        raise UsageError(
            f"{where}: tensor_parallel_size is {row.tensor_parallel_size}, but the engine in "
            f"{path} was built for {ranks}"
        )
    if row.dtype not in ("", "auto"):
        raise UsageError(f"{where}: dtype: an engine's types are built into it; leave it out")
