"""Reads `--models FILE`: a gateway's models and their servers; `up` writes the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from enginix.backends.openai.http import HttpClient
from enginix.backends.openai.server import PROBES, SILENCE_SECONDS, OpenAIBackend
from enginix.backends.replicas.openai import ReplicatedOpenAI
from enginix.backends.replicas.triton import ReplicatedTriton
from enginix.backends.triton import TritonBackend
from enginix.chat.reply import REASONING, TOOLS
from enginix.errors import UsageError
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import Names, PassthroughModel, read_engine
from enginix.gateway.prompt.strict_servers import strict_server
from enginix.manifest import manifest_hash
from enginix.records import reason
from enginix.triton.client.address import parse_addresses
from enginix.triton.client.client import TritonClient

# Makes the client for an address and a model's vocabulary.
Connect = Callable[[str, int], TritonClient]
OpenModels = Callable[[], Sequence[Model]]
# What an adapter's row has of its own; all else is its model's.
ADAPTER_KEYS = {"name", "path", "upstream", "fields"}

# What an OpenAI server may leave in its text for our parsers -> the formats they know.
FORMATS: dict[str, Iterable[str]] = {"reasoning": REASONING, "tools": TOOLS}
KEYS = {
    "name",
    "engine",
    "aliases",
    "contains",
    "path",
    "directory",
    "address",
    "url",
    "upstream",
    "metrics",
    "starts_inside",
    "images",
    "priority",
    "task",
    "fields",
    "adapters",
    *FORMATS,
}


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A model of the file, whose own files have been read."""

    row: Mapping[str, Any]
    open: OpenModels
    """Opens it and its adapters in the event loop."""

    @property
    def name(self) -> str:
        return str(self.row["name"])


def read_models(
    path: Path,
    connect: Connect,
    silence: float = SILENCE_SECONDS,
    *,
    may_be_empty: bool = False,
) -> list[ReadModel]:
    """The models of the file; UsageError for errors in it.

    `silence`: seconds an OpenAI server may send nothing in the middle of a stream. It may be empty
    where a supervisor reports models later.
    """
    try:
        data = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"--models {path} cannot be read: {reason(error)}") from None
    rows = data.get("models") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not (rows or may_be_empty):
        raise UsageError(f'--models {path}: expected {{"models": [...]}} with at least one in it')
    models = [
        ReadModel(row, _opener(row, f"--models {path}: models[{n}]", connect, silence))
        for n, row in enumerate(rows)
    ]
    named = [
        (row, [row["name"], *(each["name"] for each in row.get("adapters", ()))]) for row in rows
    ]
    names = Counter(
        (name, row.get("engine")) for row, own in named for name in {*own, *row.get("aliases", [])}
    )
    # A request can choose between two engines, but not between two models of one name.
    names.update((name, "") for _, own in named for name in own)
    for (name, _), count in names.items():
        if count > 1:
            raise UsageError(f"--models {path}: {count} models have the name {name!r}")
    return models


def _adapters_of(row: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    rows = row.get("adapters", [])
    for each in rows if isinstance(rows, list) else [rows]:
        is_one = isinstance(each, dict) and isinstance(each.get("name"), str)
        if not is_one or each.keys() - ADAPTER_KEYS:
            keys = ", ".join(sorted(ADAPTER_KEYS))
            raise UsageError(f"{where}.adapters: expected objects of {keys}, got {each!r}")
    return list(rows)


def opener_of(
    connect: Connect, silence: float = SILENCE_SECONDS
) -> Callable[[Mapping[str, Any]], OpenModels]:
    """A function that opens a model that the supervisor describes, and its adapters."""
    return lambda row: _opener(row, "the supervisor's model", connect, silence)


def triton_model(engine: Path, address: str, connect: Connect, metrics: str = "") -> OpenModels:
    return _triton(engine, None, address, connect, _page(metrics, "--triton-metrics"))


def _opener(row: Any, where: str, connect: Connect, silence: float) -> OpenModels:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise UsageError(f"{where}: expected an object with a name")
    if unknown := row.keys() - KEYS:
        raise UsageError(f"{where}: unknown keys {sorted(unknown)}")
    names = Names(
        row["name"],
        tuple(row.get("aliases", ())),
        tuple(row.get("contains", ())),
        str(row.get("path", "")),
    )
    metrics = _page(row.get("metrics", ""), f"{where}.metrics")
    if "url" in row:
        opens = [_relayed(names, row, where, silence, metrics)]
        for adapter in _adapters_of(row, where):
            own = Names(adapter["name"], path=str(adapter.get("path", "")))
            shared = {"upstream": names.name, **row, **adapter, "parent": names.name}
            opens.append(_relayed(own, shared, f"{where}.adapters", silence, ""))
        return lambda: [open_model() for open_model in opens]
    for key in ("directory", "address"):
        if not isinstance(row.get(key), str) or "adapters" in row:
            raise UsageError(f"{where}: expected either url, or directory and address")
    return _triton(Path(row["directory"]), names, row["address"], connect, metrics)


def _triton(
    engine: Path, names: Names | None, address: str, connect: Connect, metrics: str
) -> OpenModels:
    addresses = parse_addresses(address)
    files = read_engine(engine, names)

    def open_models() -> list[Model]:
        servers = [
            TritonBackend(f"Triton at {one}", connect(str(one), files.vocabulary))
            for one in addresses
        ]
        if len(servers) == 1:
            return [files.bind(servers[0], metrics)]
        # One server's numbers are not the model's.
        several = ReplicatedTriton(f"Triton at {address}", servers, manifest_hash(engine))
        return [files.bind(several)]

    return open_models


def _relayed(
    names: Names, row: Mapping[str, Any], where: str, silence: float, metrics: str
) -> Callable[[], Model]:
    url, upstream = row["url"], row.get("upstream", names.name)
    engine = str(row.get("engine", "openai"))
    if not isinstance(url, str) or not isinstance(upstream, str):
        raise UsageError(f"{where}: expected url and upstream to be strings")
    name = f"{engine} at {url}"
    urls = _urls(name, url, upstream)
    reasoning, tools = (_format(row.get(key), key, where) for key in ("reasoning", "tools"))
    task, fields = _task(row, where), _fields(row, where)
    starts_inside, images, priority = (
        _flag(row, key, where) for key in ("starts_inside", "images", "priority")
    )
    strict = strict_server(engine, names.path)

    def open_model() -> Model:
        return PassthroughModel(
            names.name,
            _backend(name, urls, upstream, task, silence, only_chats=strict is not None),
            engine,
            names.aliases,
            names.contains,
            names.path,
            metrics if len(urls) == 1 else "",
            reasoning=reasoning,
            tools=tools,
            starts_inside=starts_inside,
            takes_priority=priority,
            images=images,
            parent=row.get("parent"),
            fields=fields,
            strict=strict,
        )

    return open_model


def _backend(
    name: str, urls: Sequence[str], upstream: str, task: str, silence: float, *, only_chats: bool
) -> OpenAIBackend:
    if len(urls) == 1:
        return OpenAIBackend(
            name, urls[0], upstream, task=task, only_chats=only_chats, silence=silence
        )
    return ReplicatedOpenAI(name, urls, upstream, task=task, only_chats=only_chats, silence=silence)


def _urls(name: str, url: str, upstream: str) -> list[str]:
    urls = [one.strip() for one in url.split(",")]
    for one in urls:
        # Refuse a bad address now, not in the event loop.
        OpenAIBackend(name, one, upstream)
    return urls


def _page(url: Any, where: str) -> str:
    """The URL of a metrics page; empty if there is none."""
    if url == "":
        return ""
    try:
        HttpClient(str(url), name=where)
    except (UsageError, ValueError):
        raise UsageError(f"{where}: expected http://HOST:PORT/metrics, got {url!r}") from None
    return str(url)


def _flag(row: Mapping[str, Any], key: str, where: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{where}.{key}: expected true or false, got {value!r}")
    return value


def _task(row: Mapping[str, Any], where: str) -> str:
    task = row.get("task", "generate")
    if not isinstance(task, str) or task not in PROBES:
        raise UsageError(f"{where}.task: expected one of {', '.join(PROBES)}, got {task!r}")
    return task


def _fields(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    fields = row.get("fields", {})
    if not isinstance(fields, Mapping):
        raise UsageError(f"{where}.fields: expected an object, got {fields!r}")
    return fields


def _format(name: Any, key: str, where: str) -> str | None:
    known = sorted(FORMATS[key])
    if name is not None and name not in known:
        raise UsageError(f"{where}.{key}: {name!r} is none of {', '.join(known)}")
    return name if isinstance(name, str) else None
