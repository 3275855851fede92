"""The tables of docs/dialects.md as data, and the types that the clients' packages have."""

from __future__ import annotations

import re
import types
import typing
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

DOCUMENT = Path(__file__).parents[2] / "docs" / "dialects.md"
OTHER = "any other"


class Row(NamedTuple):
    section: str
    """Route and kind, as `/v1/responses: items`."""
    type: str
    done: str


def rows() -> list[Row]:
    found: list[Row] = []
    section = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").replace("`", "")
        elif line.startswith("|") and section.startswith("/v1/"):
            names, done, _ = (cell.strip() for cell in line.strip("|").split("|"))
            kinds = re.findall(r"`(\w+)`", names) or ([OTHER] if names == OTHER else [])
            found += [Row(section, kind, done) for kind in kinds]
    return found


def described_versions() -> dict[str, str]:
    """Package -> its version according to the tables."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return dict(re.findall(r"\b(openai|anthropic) (\d+\.\d+\.\d+)", text))


def are_installed() -> bool:
    return all(version(name) == described for name, described in described_versions().items())


def check_type(name: str, value: Any) -> None:
    """Validate with the openai package's types, if it is installed and has them."""
    try:
        installed = version("openai")
    except PackageNotFoundError:
        return
    numbers = [
        tuple(map(int, text.split("."))) for text in (installed, described_versions()["openai"])
    ]
    if numbers[0] >= numbers[1]:
        kind = getattr(import_module("openai.types.responses"), name)
        TypeAdapter(kind).validate_python(value)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(".")[:3]]


def type_names(union: Any) -> set[str]:
    """The `type` of every variant of a union of the clients' typed dictionaries."""
    origin = typing.get_origin(union)
    if origin in (typing.Union, types.UnionType):
        return {name for variant in typing.get_args(union) for name in type_names(variant)}
    if origin is not None or union in (str, type(None)):
        return set()
    try:
        return set(_words(typing.get_type_hints(union).get("type")))
    except TypeError:
        return set()


def _words(hint: Any) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [word for inner in typing.get_args(hint) for word in _words(inner)]
