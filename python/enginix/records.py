"""Decodes JSON and TOML into dataclasses; an error names the field's path, what was found there and
what was expected.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
Failure = Callable[[str], Exception]
"""Makes the exception from a message: an error class, or a function that adds a remedy."""

EXPECTED = {
    str: "a string",
    Path: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}


def reason(error: Exception) -> str:
    """What is wrong, without an errno and without the path, which the message has already."""
    return getattr(error, "strerror", None) or str(error)


def read_json(path: Path, failure: Failure) -> Any:
    """The content of a JSON file.

    FileNotFoundError and NotADirectoryError are not converted: the caller knows what absence means.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except json.JSONDecodeError as error:
        raise failure(f"{path} is not JSON: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise failure(f"{path} cannot be read: {reason(error)}") from error


def read_toml(path: Path, failure: Failure) -> dict[str, Any]:
    """The content of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise failure(f"{path}: {reason(error)}") from error


def decode_file(kind: type[Record], path: Path, failure: Failure) -> Record:
    """The content of a JSON file as the dataclass `kind`, likewise."""
    return decode(kind, read_json(path, failure), str(path), failure)


def write_json(path: Path, value: object) -> None:
    """Write atomically: the old file stays until the new one is complete."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def replace_text(path: Path, text: str, partial: Path | None = None) -> None:
    """Write atomically: the old file stays until the new one, with its mode, is synced to disk.

    `partial`: where it is written first, if several processes may write at once.
    """
    partial = partial or path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def decode(kind: type[Record], value: object, where: str, failure: Failure) -> Record:
    """`value`, as a JSON or TOML parser returns it, as the dataclass `kind`.

    Keys without a field are refused. `where` is the path of `value` in error messages.
    """
    decoded: Record = _Decoder(failure).any(kind, value, where)
    return decoded


class _Decoder:
    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    def any(self, hint: Any, value: object, where: str) -> Any:
        origin, arguments = get_origin(hint) or hint, get_args(hint)
        if origin is Any:
            return value
        if origin is UnionType:
            exact = [each for each in arguments if type(value) is each]
            return self.any((exact or arguments)[0], value, where)
        if is_dataclass(origin):
            return self._object(origin, self._require(dict, value, where), where)
        if origin in (dict, Mapping):
            table = self._require(dict, value, where)
            return {
                key: self.any(arguments[1], item, f"{where}.{key}") for key, item in table.items()
            }
        if origin in (list, tuple, Sequence):
            items = enumerate(self._require(list, value, where))
            made = [self.any(arguments[0], item, f"{where}[{i}]") for i, item in items]
            return tuple(made) if origin is tuple else made
        return self._require(origin, value, where)

    def _object(self, kind: Any, table: dict[str, Any], where: str) -> Any:
        hints = get_type_hints(kind)
        if unknown := table.keys() - hints.keys():
            raise self._failure(f"{where}: unknown keys {sorted(unknown)}")
        given = {key: self.any(hints[key], item, f"{where}: {key}") for key, item in table.items()}
        missing = [
            each.name
            for each in fields(kind)
            if each.name not in given and each.default is each.default_factory is MISSING
        ]
        if missing:
            are = "is" if len(missing) == 1 else "are"
            raise self._failure(f"{where}: {', '.join(missing)} {are} missing")
        return kind(**given)

    def _require(self, kind: Any, value: object, where: str) -> Any:
        # A number may lack a fraction; Python counts true and false as integers.
        accepted: Any = {float: (int, float), Path: str}.get(kind, kind)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise self._failure(f"{where}: expected {EXPECTED[kind]}, got {value!r}")
        return kind(value) if kind in (float, Path) else value
