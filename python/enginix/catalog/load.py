"""The catalogue: one TOML file per model, read here and by Nix (`importTOML`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from enginix.errors import CatalogError, ModelUnknown
from enginix.manifest import KINDS, Chat, Check, Limits
from enginix.records import decode, read_toml
from enginix.speculative import Speculative

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
        """Whether the files can never change: a commit, or shipped with enginix."""
        return self.directory is not None or is_commit(self.revision)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build a model: ranks and limits. `gpu_memory_gb` is per GPU, 0 for CPU models."""

    tensor_parallel: int
    max_batch_size: int
    max_seq_len: int
    max_num_tokens: int
    gpu_memory_gb: float

    @property
    def limits(self) -> Limits:
        return Limits(self.max_batch_size, self.max_seq_len, self.max_num_tokens)


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
    """What was verified, and where; the catalogue makes no other claims."""
    source: SourceSpec
    variants: dict[str, Variant]
    app: str
    """The name in the Nix apps: `tritonserver-<app>`, `openai-<app>`."""
    aliases: list[str] = field(default_factory=list)
    chat: Chat = field(default_factory=Chat)
    ports: Ports = field(default_factory=Ports)
    speculative: Speculative | None = None
    """For the server of its kind, unless a profile says otherwise."""
    check: list[Check] = field(default_factory=list)

    def variant(self, tensor_parallel: int | None = None) -> Variant:
        """The variant with that many ranks; the smallest if None."""
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
    """Every model by name, sorted."""
    paths = sorted(directory.glob("*.toml"), key=lambda path: path.stem)
    return {path.stem: load_model(path) for path in paths}


def find_model(name: str, directory: Path = DIRECTORY) -> ModelSpec:
    """The model with that name or alias; ModelUnknown suggests similar names."""
    catalog = load_catalog(directory)
    for spec in catalog.values():
        if name == spec.name or name in spec.aliases:
            return spec
    raise ModelUnknown(name, catalog)


def load_model(path: Path) -> ModelSpec:
    data = read_toml(path, CatalogError)
    # The file and, by default, the Nix apps are named after the model.
    spec = decode(ModelSpec, {"app": path.stem, **data, "name": path.stem}, path.name, CatalogError)
    if "name" in data:
        raise CatalogError(f"{path.name}: unknown keys ['name']; the file's name is the model's")
    if spec.kind not in KINDS:
        raise CatalogError(
            f"{path.name}: kind: expected one of {', '.join(KINDS)}, got {spec.kind!r}"
        )
    if not spec.variants:
        raise CatalogError(f"{path.name}: expected at least one [variants.tpN]")
    if spec.speculative and (mistake := spec.speculative.mistake):
        raise CatalogError(f"{path.name}: speculative: {mistake}")
    source = spec.source
    if source.nar_hash and not is_commit(source.revision):
        raise CatalogError(
            f"{path.name}: source: nar_hash needs a commit, but revision is {source.revision!r}; "
            "expected 40 hex digits, `enginix checkpoint lock` writes both"
        )
    if source.directory:
        source = replace(source, directory=path.parent / source.directory)
    return replace(spec, source=source)
