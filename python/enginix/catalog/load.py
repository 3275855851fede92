"""The catalogue: one TOML file per model, read here and by Nix (`importTOML`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix.errors import CatalogError, ModelUnknown
from enginix.manifest import KINDS, Chat, Check

DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A hub repository at a pinned revision, or a directory (relative to the catalogue)."""

    repo: str | None = None
    revision: str | None = None
    nar_hash: str | None = None
    directory: Path | None = None

    @property
    def pinned(self) -> bool:
        """Whether it is the same files for ever: a commit, or shipped with enginix."""
        return self.directory is not None or is_commit(self.revision)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build a model: ranks and limits. `gpu_memory_gb` is per GPU, 0 without one."""

    tensor_parallel: int
    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int
    gpu_memory_gb: float


@dataclass(frozen=True, slots=True)
class Ports:
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    gateway: int = 9000


@dataclass(frozen=True, slots=True)
class ModelSpec:
    name: str
    title: str
    kind: str
    status: str
    """What was verified, and where: the catalogue claims nothing else."""
    source: SourceSpec
    variants: dict[str, Variant]
    app: str
    """What the Nix apps are named after: `tritonserver-<app>`, `openai-<app>`."""
    aliases: list[str] = field(default_factory=list)
    chat: Chat = field(default_factory=Chat)
    ports: Ports = field(default_factory=Ports)
    check: list[Check] = field(default_factory=list)

    def variant(self, tensor_parallel: int | None = None) -> Variant:
        """The variant with that many ranks; the smallest when None."""
        by_ranks = {variant.tensor_parallel: variant for variant in self.variants.values()}
        ranks = min(by_ranks) if tensor_parallel is None else tensor_parallel
        if ranks not in by_ranks:
            raise CatalogError(
                f"{self.name} has no variant with tensor parallel {ranks}; "
                f"it has {', '.join(str(known) for known in sorted(by_ranks))}"
            )
        return by_ranks[ranks]


def is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def load_catalog(directory: Path = DIRECTORY) -> dict[str, ModelSpec]:
    """Every model by its name, in the order of the names."""
    paths = sorted(directory.glob("*.toml"), key=lambda path: path.stem)
    return {path.stem: load_model(path) for path in paths}


def find_model(name: str, directory: Path = DIRECTORY) -> ModelSpec:
    """The model with that name or alias; ModelUnknown offers the nearest names."""
    catalog = load_catalog(directory)
    for spec in catalog.values():
        if name == spec.name or name in spec.aliases:
            return spec
    raise ModelUnknown(name, catalog)


def load_model(path: Path) -> ModelSpec:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"{path}: {error}") from error
    table = _Table(path.name, data)
    spec = ModelSpec(
        name=path.stem,
        title=table.take("title", str),
        kind=table.take("kind", str),
        status=table.take("status", str),
        app=table.take("app", str, path.stem),
        source=_source(table.table("source"), path.parent),
        variants={
            key: Variant(
                tensor_parallel=row.take("tensor_parallel", int),
                max_batch_size=row.take("max_batch_size", int),
                max_seq_len=row.take("max_seq_len", int),
                max_num_tokens=row.take("max_num_tokens", int),
                gpu_memory_gb=float(row.take("gpu_memory_gb", (int, float))),
            )
            for key, row in table.tables("variants")
        },
        aliases=table.take("aliases", list, []),
        chat=_chat(table.table("chat")),
        ports=_ports(table.table("ports")),
        check=[
            Check(row["prompt_ids"], row["answer_ids"]) for row in table.take("check", list, [])
        ],
    )
    table.refuse_rest()
    if spec.kind not in KINDS:
        raise CatalogError(
            f"{path.name}: kind: expected one of {', '.join(KINDS)}, got {spec.kind!r}"
        )
    if not spec.variants:
        raise CatalogError(f"{path.name}: expected at least one [variants.tpN]")
    return spec


class _Table:
    """A TOML table whose keys are taken one by one; what is left over is a mistake."""

    def __init__(self, where: str, data: Mapping[str, Any]) -> None:
        self.where = where
        self._data = dict(data)
        self._inner: list[_Table] = []

    def take(self, key: str, kind: type | tuple[type, ...], *default: Any) -> Any:
        if key not in self._data:
            if default:
                return default[0]
            raise CatalogError(f"{self.where}: {key} is missing")
        value = self._data.pop(key)
        if not isinstance(value, kind):
            raise CatalogError(f"{self.where}: {key}: got {value!r}, of the wrong type")
        return value

    def table(self, key: str) -> _Table:
        self._inner.append(_Table(f"{self.where}: {key}", self.take(key, dict, {})))
        return self._inner[-1]

    def tables(self, key: str) -> list[tuple[str, _Table]]:
        outer = self.table(key)
        return [(name, outer.table(name)) for name in list(outer._data)]

    def refuse_rest(self) -> None:
        if self._data:
            raise CatalogError(f"{self.where}: unknown keys {sorted(self._data)}")
        for inner in self._inner:
            inner.refuse_rest()


def _source(table: _Table, beside: Path) -> SourceSpec:
    directory = table.take("directory", str, None)
    source = SourceSpec(
        repo=table.take("repo", str, None),
        revision=table.take("revision", str, None),
        nar_hash=table.take("nar_hash", str, None),
        directory=beside / directory if directory else None,
    )
    if source.nar_hash and not is_commit(source.revision):
        raise CatalogError(
            f"{table.where}: nar_hash is of one commit's files and revision is "
            f"{source.revision!r}; expected 40 hex digits, `enginix checkpoint lock` writes both"
        )
    return source


def _chat(table: _Table) -> Chat:
    return Chat(
        reasoning=table.take("reasoning", str, None),
        tools=table.take("tools", str, None),
        thinking_switch=table.take("thinking_switch", str, None),
    )


def _ports(table: _Table) -> Ports:
    plain = Ports()
    return Ports(
        http=table.take("http", int, plain.http),
        grpc=table.take("grpc", int, plain.grpc),
        metrics=table.take("metrics", int, plain.metrics),
        gateway=table.take("gateway", int, plain.gateway),
    )
