"""The systemd units of `enginix up`. What is in them is in systemd.toml, for NixOS too."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix.errors import UsageError

DESCRIPTION: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("systemd.toml").read_text(encoding="utf-8")
)
# A dynamic user has this name, and systemd allows 31 characters in it.
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# ProtectHome hides these from a service of the system.
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
PLAIN = re.compile(r"[\w.,:+@/=~%-]+")

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Service:
    """`enginix up` as a service of the system, or of the user who starts it."""

    name: str
    """The unit's name, without its suffix."""
    description: str
    argv: Sequence[str]
    """The command, whose first word is an absolute path."""
    user: bool
    drain_seconds: float
    """How long it takes until its last answer is finished, once it is stopped."""
    api_keys: Path | None = None
    token: Path | None = None
    """A file with a token for the Hugging Face hub."""
    environment: Mapping[str, str] = field(default_factory=dict)
    hardening: bool = True
    gpu: bool = True
    prepare: bool = False
    """Whether runtimes and engines are made by a unit before, not by `up` itself."""


def units(service: Service) -> dict[str, str]:
    """File name -> text. Raises UsageError for a service that systemd could not start."""
    if not NAME.fullmatch(service.name):
        raise UsageError(
            f"--name is {service.name!r}; expected a lower-case letter, then letters, digits and "
            "dashes, at most 31 in all"
        )
    whole = {f"{service.name}.service": _text(_sections(service))}
    if service.prepare:
        whole[f"{_before(service)}.service"] = _text(_preparing(service))
    return whole


def require_visible(paths: Sequence[Path]) -> None:
    """Refuse files that a service of the system has no access to."""
    for path in paths:
        for home in HOMES:
            if home in (path, *path.parents):
                raise UsageError(
                    f"{path} is in {home}, where a service of the system finds nothing; put it "
                    "elsewhere, such as in /opt or /srv, or render a user's service with --user"
                )


def _sections(service: Service) -> Sections:
    unit = _unit(service)
    if service.prepare:
        for key in ("Wants", "After"):
            unit[key] = [*unit.get(key, []), f"{_before(service)}.service"]
    stop = DESCRIPTION["stop"]["servers"] + service.drain_seconds
    return {
        "Unit": {"Description": _literal(service.description), **unit},
        "Service": {
            **_settings(service),
            **_common(service, service.argv),
            "TimeoutStopSec": round(stop),
        },
        "Install": {"WantedBy": "default.target" if service.user else "multi-user.target"},
    }


def _preparing(service: Service) -> Sections:
    return {
        "Unit": {
            "Description": _literal(f"{service.description}: its runtimes and engines"),
            **_unit(service),
        },
        "Service": {
            **DESCRIPTION["prepare"],
            **_common(service, [*service.argv, "--prepare"]),
        },
    }


def _unit(service: Service) -> dict[str, Any]:
    return {} if service.user else dict(DESCRIPTION["unit"]["system"])


def _settings(service: Service) -> dict[str, Any]:
    return {key: value for key, value in DESCRIPTION["service"].items() if key != "system"}


def _common(service: Service, argv: Sequence[str]) -> dict[str, Any]:
    """What holds for both units: who they run as, with which files, and what they may do."""
    words = [_argument(word) for word in argv]
    environment = [f"{name}={value}" for name, value in service.environment.items()]
    credentials = []
    if service.api_keys and service.user:
        words.append(_argument(f"--api-keys={service.api_keys}"))
    elif service.api_keys:
        # The suffix says whether the keys have names.
        name = f"api-keys{service.api_keys.suffix}"
        credentials.append(f"{name}:{service.api_keys}")
        words.append(f"--api-keys=${{CREDENTIALS_DIRECTORY}}/{name}")
    if service.token and service.user:
        environment.append(f"HF_TOKEN_PATH={service.token}")
    elif service.token:
        credentials.append(f"hf-token:{service.token}")
    lines = [_quoted(word) for word in environment]
    if service.token and not service.user:
        lines.append("HF_TOKEN_PATH=%d/hf-token")
    settings: dict[str, Any] = {"ExecStart": " ".join(words)}
    if not service.user:
        settings |= _replaced(DESCRIPTION["service"]["system"], service.name)
        usual = _replaced(DESCRIPTION["environment"]["system"], service.name)
        lines = [*(f"{name}={value}" for name, value in usual.items()), *lines]
        if service.hardening or not service.gpu:
            settings |= DESCRIPTION["devices"]["gpu" if service.gpu else "none"]
    settings["Environment"] = lines
    if credentials:
        settings["LoadCredential"] = [_literal(word) for word in credentials]
    if service.hardening:
        settings |= DESCRIPTION["hardening"]["any"]
        settings |= {} if service.user else DESCRIPTION["hardening"]["system"]
    return settings


def _before(service: Service) -> str:
    return f"{service.name}-prepare"


def _replaced(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        key: value.replace("@name@", name) if isinstance(value, str) else value
        for key, value in table.items()
    }


def _literal(text: str) -> str:
    """Text in which systemd replaces no specifier."""
    if not text.isprintable():
        raise UsageError(f"{text!r} has a control character, which a unit cannot hold")
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    literal = _literal(word)
    if PLAIN.fullmatch(literal):
        return literal
    return '"' + literal.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _argument(word: str) -> str:
    """One word of a command line, in which no variable is replaced either."""
    return _quoted(word).replace("$", "$$")


def _text(sections: Sections) -> str:
    return "\n".join("\n".join(_lines(name, table)) + "\n" for name, table in sections.items())


def _lines(section: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{section}]"
    for key, value in table.items():
        for each in value if isinstance(value, list) else [value]:
            yield f"{key}={str(each).lower() if isinstance(each, bool) else each}"
