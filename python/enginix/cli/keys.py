"""`enginix keys`: adds, lists and revokes the keys of a file that `--api-keys` names."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from enginix.cli.views.console import Console, print_table
from enginix.errors import UsageError, did_you_mean
from enginix.gateway.keys.key import Key, digest_of
from enginix.gateway.keys.key_file import FIELDS, NAME, SUFFIX, key_of, parse_keys
from enginix.owned import hold_soon
from enginix.records import reason

ABOUT_ADD = """\
Add a key to the file, and print it: once, because the file holds only its
SHA-256. Other entries and comments of the file stay as they are. A gateway
that was started with --api-keys FILE accepts the key within a second.
"""
ABOUT_REVOKE = """\
Remove a key from the file. A gateway that was started with --api-keys FILE
refuses it within a second; its running requests finish.
"""
DEFAULT = Path("keys.toml")
COLUMNS = ("name", "models", "running", "requests/min", "tokens/min", "priority", "expires", "may")
RIGHT = COLUMNS[2:6]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    add = actions.add_parser(
        "add", help="make a key and print it once", description=ABOUT_ADD, formatter_class=raw
    )
    _add_file(add)
    _add_limits(add)
    add.set_defaults(action=_add)
    show = actions.add_parser("list", help="show the keys' names and limits")
    show.add_argument("--json", action="store_true", help="print JSON, for scripts")
    _add_file(show, named=False)
    show.set_defaults(action=_list)
    revoke = actions.add_parser(
        "revoke", help="remove a key", description=ABOUT_REVOKE, formatter_class=raw
    )
    _add_file(revoke)
    revoke.set_defaults(action=_revoke)


def run(args: argparse.Namespace) -> int:
    if args.file.suffix != SUFFIX:
        raise UsageError(f"--file {args.file}: expected a name that ends in {SUFFIX}")
    # A file that replaces a link would leave the original as it was.
    args.file = args.file.expanduser().resolve()
    return int(args.action(args))


def _add_file(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    if named:
        parser.add_argument("name", metavar="KEY_NAME", help="whose key it is, such as alice")
    parser.add_argument(
        "--file", type=Path, default=DEFAULT, metavar="FILE", help="the keys (%(default)s)"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        metavar="PATTERN",
        help="only these models: names, or patterns such as 'qwen*'",
    )
    add("--max-running", type=int, metavar="N", help="requests at once")
    add("--requests-per-minute", type=int, metavar="N", help="requests per minute")
    add("--tokens-per-minute", type=int, metavar="N", help="tokens per minute, in and out")
    add("--priority", type=int, metavar="N", help="of its requests; lower is sooner (0)")
    add("--expires", type=_day, metavar="DATE", help="refused from this day on, in UTC: 2027-01-01")
    add(
        "--admin",
        action="store_true",
        default=None,
        help="may load, unload and restart models, stop requests, and read logs",
    )


def _add(args: argparse.Namespace) -> int:
    if not NAME.fullmatch(args.name):
        raise UsageError(
            "KEY_NAME: expected letters, digits, dots, dashes and underscores, at most 64 of them, "
            "a letter or digit first, and no sk- at the beginning, which is how a key begins; got "
            f"{args.name!r}"
        )
    key = f"sk-{secrets.token_urlsafe(32)}"
    given = {name: value for name in FIELDS if (value := getattr(args, name, None)) is not None}
    fields = {"hash": f"sha256:{digest_of(key).hex()}", **given}
    for name, value in given.items():
        if not FIELDS[name].holds(value):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag}: expected {FIELDS[name].expected}, got {value}")
    with _changing(args.file, create=True) as (text, keys):
        if args.name in keys:
            raise UsageError(
                f"{args.file} has a key named {args.name!r}; revoke it first: enginix keys revoke "
                f"{args.name} --file {args.file}"
            )
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        block = "".join(f"{name} = {_toml(value)}\n" for name, value in fields.items())
        name = args.name if re.fullmatch(r"[\w-]+", args.name) else f'"{args.name}"'
        new = f"{text}{gap}[keys.{name}]\n{block}"
        _replace(args.file, new, {**keys, args.name: key_of(args.name, fields)})
    print(f"{args.file} has the key's hash; this is the only time it is shown:", file=sys.stderr)
    print(key)
    return 0


def _revoke(args: argparse.Namespace) -> int:
    with _changing(args.file) as (text, keys):
        if args.name not in keys:
            hint = did_you_mean(args.name, keys) or f"it has {', '.join(keys) or 'none'}"
            raise UsageError(f"{args.file} has no key named {args.name!r}; {hint}")
        kept = {name: key for name, key in keys.items() if name != args.name}
        _replace(args.file, without_table(text, args.name), kept)
    print(f"{args.name} is revoked", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    keys = parse_keys(_text(args.file), args.file).values()
    if args.json:
        print(json.dumps({"keys": [as_json(key) for key in keys]}, indent=2))
    elif keys:
        print_table(Console(highlight=False), COLUMNS, map(_cells, keys), RIGHT)
    else:
        print(f"{args.file} holds no key; add one with `enginix keys add KEY_NAME`")
    return 0


def as_json(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "models": list(key.models),
        "max_running": key.max_running,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "priority": key.priority,
        "expires": key.expires.isoformat() if key.expires else None,
        "expired": key.expired,
        "admin": key.admin,
    }


def _cells(key: Key) -> Sequence[str]:
    limits = (key.max_running, key.requests_per_minute, key.tokens_per_minute)
    until = f"{key.expires:%Y-%m-%d}" if key.expires else "never"
    return (
        key.name,
        " ".join(key.models) or "all",
        *("-" if limit is None else str(limit) for limit in limits),
        str(key.priority),
        f"{until} (expired)" if key.expired else until,
        "use, administer" if key.admin else "use",
    )


def without_table(text: str, name: str) -> str:
    """The text without [keys.NAME] and its fields; the comments before the next table stay."""
    header = re.compile(rf"\s*\[\s*keys\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\]")
    lines = text.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if header.match(line)), len(lines))
    later = (at for at in range(start + 1, len(lines)) if lines[at].lstrip().startswith("["))
    end = next(later, len(lines))
    while end < len(lines) and end > start + 1 and lines[end - 1].lstrip()[:1] in ("", "#"):
        end -= 1
    return "".join([*lines[:start], *lines[end:]])


@contextmanager
def _changing(path: Path, *, create: bool = False) -> Iterator[tuple[str, Mapping[str, Key]]]:
    """The file's text and keys, while no other command changes it."""
    is_new = not path.exists()
    try:
        lock = hold_soon(path, os.O_CREAT if create else 0)
    except OSError as error:
        raise UsageError(f"--file {path} cannot be opened: {error.strerror}") from None
    if lock is None:
        raise UsageError(f"another command is changing {path}; try again")
    try:
        text = _text(path)
        yield text, parse_keys(text, path)
    except BaseException:
        # Another command may have created it, and added a key.
        if is_new and path.is_file() and not path.stat().st_size:
            path.unlink()
        raise
    finally:
        os.close(lock)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file {path} cannot be read: {reason(error)}") from None


def _replace(path: Path, text: str, expected: Mapping[str, Key]) -> None:
    """Write the text atomically, readable by its owner alone, if it holds what is expected."""
    try:
        holds = parse_keys(text, path) == expected
    except UsageError:
        holds = False
    if not holds:
        raise UsageError(
            f"{path} is written in a way that this command cannot change; expected a table such "
            "as [keys.alice] for each key; edit it by hand"
        )
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(path, partial, text)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"--file {path} cannot be written: {error.strerror}") from None


def _write(path: Path, partial: Path, text: str) -> None:
    owner = path.stat()
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            # Root adds a key for the gateway's user.
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # From here on the next command has its turn: what is locked is the file that this one replaces.
    partial.replace(path)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a date such as 2027-01-01, got {text!r}"
        ) from None


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case date() | datetime():
            return value.isoformat()
    # JSON's strings, numbers and lists are TOML's too.
    return json.dumps(value)
