"""Writes a source's revision and NAR hash into its catalogue file, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from enginix.errors import CatalogError
from enginix.records import replace_text


def lock_source(path: Path, revision: str, nar_hash: str | None) -> None:
    """Keeps comments, order and spacing of the TOML file; None removes a hash."""
    try:
        text = path.read_text(encoding="utf-8")
        locked = with_lock(text, revision, nar_hash)
        _require_same(path, text, locked, revision, nar_hash)
        replace_text(path, locked)
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be written: {error.strerror or error}; lock in a checkout of enginix"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"{path}: {error}") from error


def with_lock(text: str, revision: str, nar_hash: str | None) -> str:
    """The text of a catalogue file with both keys of its [source] set, or the second removed."""
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*\[source\]", line)), None)
    if start is None:
        raise CatalogError("expected a table [source] to lock, found none")
    stop = next(
        (i for i in range(start + 1, len(lines)) if re.match(r"\s*\[", lines[i])), len(lines)
    )
    table = lines[start + 1 : stop]
    if nar_hash is None:
        table = [line for line in table if not re.match(r"\s*nar_hash\s*=", line)]
    else:
        _set(table, "nar_hash", nar_hash)
    _set(table, "revision", revision)
    return "".join(lines[: start + 1] + table + lines[stop:])


def _set(table: list[str], key: str, value: str) -> None:
    for index, line in enumerate(table):
        if found := re.match(rf"(\s*{key}\s*=\s*)(\"[^\"]*\"|'[^']*')(.*)", line, re.DOTALL):
            table[index] = f'{found[1]}"{value}"{found[3]}'
            return
    repo = next((i for i, line in enumerate(table) if re.match(r"\s*repo\s*=", line)), -1)
    table.insert(repo + 1, f'{key} = "{value}"\n')


def _require_same(path: Path, before: str, after: str, revision: str, nar_hash: str | None) -> None:
    """Parse the edited text, to prove that exactly the two values changed."""
    expected = tomllib.loads(before)
    expected["source"].pop("nar_hash", None)
    expected["source"] |= {"revision": revision}
    if nar_hash is not None:
        expected["source"]["nar_hash"] = nar_hash
    if tomllib.loads(after) != expected:
        hash_line = f'nar_hash = "{nar_hash}"' if nar_hash else "no nar_hash"
        raise CatalogError(
            f"{path}: [source] is written in a form that cannot be edited; put revision = "
            f'"{revision}" and {hash_line} there by hand'
        )
