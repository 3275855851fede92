"""Reads a TOML file of named API keys, and takes up its changes while the gateway runs.

No error quotes a value that could be a key: somebody may have written one where its hash belongs.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import stat
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from enginix.errors import UsageError, did_you_mean
from enginix.gateway.keys.key import MOST_RUNNING, Key

logger = logging.getLogger(__name__)

SUFFIX = ".toml"
CHECK_SECONDS = 1.0
MAX_BYTES = 1 << 20
# Every key is a label in the metrics, and reading a file of so many takes 60 ms.
MAX_KEYS = 1000
MOST = 1_000_000_000
PRIORITIES = 1000
NAME = re.compile(r"(?!sk-)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HASH = re.compile(r"sha256:[0-9a-f]{64}")
PATTERN = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Field:
    """What a key's field must be, as a test and in words."""

    holds: Callable[[Any], bool]
    expected: str


def _whole(least: int, most: int) -> Field:
    def holds(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    return Field(holds, f"a whole number from {least:,} to {most:,}")


def _patterns(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, str) and PATTERN.fullmatch(each) for each in value or [None]
    )


FIELDS = {
    "hash": Field(
        lambda value: isinstance(value, str) and HASH.fullmatch(value) is not None,
        '"sha256:" and 64 lower-case hexadecimal digits, as `enginix keys add` writes them',
    ),
    "models": Field(_patterns, 'names or patterns, such as ["qwen*"]; leave it out for all models'),
    "max_running": _whole(1, MOST_RUNNING),
    "requests_per_minute": _whole(1, MOST),
    "tokens_per_minute": _whole(1, MOST),
    "priority": _whole(-PRIORITIES, PRIORITIES),
    "expires": Field(lambda value: isinstance(value, date), "a date, such as 2027-01-01"),
    "admin": Field(lambda value: isinstance(value, bool), "true or false"),
}


class KeyFile:
    """A file's keys by their digests; a changed file is taken up within a second of its use.

    A file that became wrong changes nothing, and one line of the log says what is wrong.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._keys = {key.digest: key for key in read_key_file(path).values()}
        self._checked = clock()
        self.error: str | None = None
        """What is wrong with the file as it is now."""

    def find(self, digest: bytes) -> Key | None:
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._take_up()
        return self._keys.get(digest)

    def _take_up(self) -> None:
        # Before reading: a change in between is found by the next check.
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = read_key_file(self._path)
        except UsageError as error:
            self.error = f"{error}; the earlier keys stay in force"
            logger.error("%s", self.error)
            return
        self.error = None
        self._keys = {key.digest: key for key in keys.values()}
        logger.info("%s changed: it has %d keys now", self._path, len(keys))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file's content or access; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size


def read_key_file(path: Path) -> dict[str, Key]:
    """Name -> key. Raises UsageError, also for a file that others can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"--api-keys {path} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--api-keys {path} cannot be read: {error.strerror}") from None
    _check_mode(status, path)
    if len(data) > MAX_BYTES:
        raise UsageError(f"--api-keys {path} has more than {MAX_BYTES >> 20} MB")
    try:
        return parse_keys(data.decode("utf-8"), path)
    except UnicodeDecodeError:
        raise UsageError(f"--api-keys {path} is not UTF-8 text") from None


def _check_mode(status: os.stat_result, path: Path) -> None:
    """Refuse a file that others can read or change.

    systemd gives a service a credential of root's with an access list for the service's user,
    which appears as the group's bits; Kubernetes mounts a secret as root's file with the pod's
    fsGroup. Without the group, this process could not read another user's file, unless it is root.
    """
    by_group = os.geteuid() not in (0, status.st_uid)
    if not status.st_mode & (0o037 if by_group else 0o077):
        return
    remedy = f"run: chmod 600 {shlex.quote(str(path))}"
    if (path.parent / "..data").is_symlink():
        remedy = (
            "in Kubernetes set defaultMode: 0400 for the secret's volume, and for the pod a "
            "runAsUser that is not root, with an fsGroup"
        )
    raise UsageError(
        f"--api-keys {path} can be read or changed by others: its mode is "
        f"{stat.S_IMODE(status.st_mode):04o}, expected 0600; {remedy}"
    )


def parse_keys(text: str, path: Path) -> dict[str, Key]:
    """Name -> key, of a file's text; `path` is its name in errors."""
    try:
        # Some editors begin a file with a byte-order mark.
        tables = tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}; correct it") from None
    if unknown := sorted(tables.keys() - {"keys"}):
        raise UsageError(
            f"{path}:{_line(text, unknown[0], top=True)}: found {unknown[0][:40]!r}, expected only "
            "tables such as [keys.alice]"
        )
    rows = tables.get("keys", {})
    if not isinstance(rows, dict):
        raise UsageError(f"{path}: keys: expected tables such as [keys.alice], got {_kind(rows)}")
    if len(rows) > MAX_KEYS:
        raise UsageError(f"{path}: found {len(rows)} keys, expected at most {MAX_KEYS}")
    keys = {name: _key(name, row, text, path) for name, row in rows.items()}
    _check_hashes(keys, text, path)
    return keys


def _key(name: str, row: Any, text: str, path: Path) -> Key:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{path}:{_line(text, name)}: a key's name has a letter or digit first, then letters, "
            "digits, dots, dashes and underscores, at most 64 of them, and does not begin as a key "
            "does, with sk-; rename it"
        )
    where = f"keys.{name}"
    if not isinstance(row, dict):
        line = _line(text, "keys", name)
        raise UsageError(f"{path}:{line}: {where}: expected a table, got {_kind(row)}")
    for field, value in row.items():
        if field in FIELDS and FIELDS[field].holds(value):
            continue
        at = f"{path}:{_line(text, name, field)}: {where}.{field[:40]}"
        if field not in FIELDS:
            hint = did_you_mean(field, FIELDS) or f"expected one of {', '.join(FIELDS)}"
            raise UsageError(f"{at}: found an unknown field; {hint}")
        raise UsageError(f"{at}: expected {FIELDS[field].expected}, got {_kind(value)}")
    if "hash" not in row:
        raise UsageError(f"{path}:{_line(text, name)}: {where}: hash is missing")
    return key_of(name, row)


def key_of(name: str, row: Mapping[str, Any]) -> Key:
    """The key of a table whose fields hold what they must."""
    fields = {field: value for field, value in row.items() if field not in ("hash", "expires")}
    fields["models"] = tuple(row.get("models", ()))
    digest = bytes.fromhex(row["hash"].removeprefix("sha256:"))
    return Key(name, digest, expires=_moment(row.get("expires")), **fields)


def _moment(day: date | None) -> datetime | None:
    """The beginning of a day, and times without a zone, are UTC's."""
    if day is None:
        return None
    if not isinstance(day, datetime):
        day = datetime(day.year, day.month, day.day)
    return day if day.tzinfo else day.replace(tzinfo=UTC)


def _check_hashes(keys: Mapping[str, Key], text: str, path: Path) -> None:
    owners: dict[bytes, str] = {}
    for name, key in keys.items():
        if (owner := owners.setdefault(key.digest, name)) != name:
            raise UsageError(
                f"{path}:{_line(text, name, 'hash')}: keys.{name} has the hash of keys.{owner}; "
                "give each name its own key"
            )


def _kind(value: Any) -> str:
    """A value as errors show it: numbers as they are, of a text only its length."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float() | date():
            return str(value)[:40]
        case str():
            return f"a text of {len(value)} characters"
        case list():
            return f"a list of {len(value)}"
    return "a table" if isinstance(value, dict) else "a time"


def _line(text: str, name: str, field: str = "", *, top: bool = False) -> int:
    """The line that sets `field` in the table of the key `name`, or that begins the table.

    Good for files as `enginix keys add` writes them; another spelling gets the nearest line.
    """
    quoted = rf"[\"']?{re.escape(name)}[\"']?"
    table = quoted if top or name == "keys" else rf"keys\s*\.\s*{quoted}"
    lines = text.splitlines()
    start = next(
        (at for at, line in enumerate(lines) if re.match(rf"\s*\[?\s*{table}\s*[\].=]", line)), 0
    )
    if field:
        sets = re.compile(rf"\s*[\"']?{re.escape(field)}[\"']?\s*=")
        for at in range(start + 1, len(lines)):
            if lines[at].lstrip().startswith("["):
                break
            if sets.match(lines[at]):
                return at + 1
    return start + 1
