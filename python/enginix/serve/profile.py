"""A profile: the models that run together, and the gateway in front of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from enginix.errors import UsageError

DIRECTORY = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One engine, named as in the catalogue, served by a Triton on these ports."""

    name: str
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    port: int = 9000
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    title: str
    models: list[ModelEntry]
    gateway: GatewayEntry = field(default_factory=GatewayEntry)
    hello: str = "Hello!"
    """What `enginix up` asks once everything runs, to show that it does."""


def profile_names(directory: Path = DIRECTORY) -> list[str]:
    return sorted(path.stem for path in directory.glob("*.toml"))


def load_profile(name: str, directory: Path = DIRECTORY) -> Profile:
    path = directory / f"{name}.toml"
    # A name, not a path: `--profile ../x` must not read just any file.
    if name not in profile_names(directory):
        known = ", ".join(profile_names(directory))
        raise UsageError(f"no profile named {name!r}; there is {known}")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from error
    models = [_entry(ModelEntry, row, f"{path.name}: model") for row in data.pop("model", [])]
    gateway = _entry(GatewayEntry, data.pop("gateway", {}), f"{path.name}: gateway")
    profile = _entry(
        Profile, {"name": name, "models": models, "gateway": gateway, **data}, path.name
    )
    assert isinstance(profile, Profile)
    if len({model.name for model in profile.models}) < len(profile.models):
        raise UsageError(f"{path.name}: two models have one name; give each its own")
    return profile


def _entry(kind: type[Any], row: dict[str, Any], where: str) -> Any:
    if unknown := row.keys() - {item.name for item in fields(kind)}:
        raise UsageError(f"{where}: unknown keys {sorted(unknown)}")
    try:
        return kind(**row)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from None
