"""`--set NAME.KEY=VALUE`: a profile with some of its values changed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar, get_type_hints

from enginix.errors import UsageError
from enginix.records import decode
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile, check

Entry = TypeVar("Entry", ModelEntry, GatewayEntry, Profile)

# A profile's settings outside its models and its gateway.
OWN_KEYS = {"hello", "model_roots", "min_residency_seconds", "drain_seconds"}


def overridden(profile: Profile, settings: Sequence[str]) -> Profile:
    """Each setting is `model.key=value` or `model.options.key=value`; checked like a profile.

    `gateway.key=value` changes the gateway, `key=value` the profile itself.
    """
    for setting in settings:
        profile = _changed(profile, setting)
    check(profile, profile.name)
    return profile


def _changed(profile: Profile, setting: str) -> Profile:
    path, equals, text = setting.partition("=")
    if equals and path in OWN_KEYS:
        return _with(profile, path, "", _value(text), setting)
    if equals and path.startswith("gateway."):
        key = path.removeprefix("gateway.")
        return replace(profile, gateway=_with(profile.gateway, key, "", _value(text), setting))
    # The longest name that matches: names may contain dots.
    names = [entry.name for entry in profile.models if path.startswith(f"{entry.name}.")]
    if not equals or not names:
        known = ", ".join(entry.name for entry in profile.models)
        raise UsageError(
            f"--set {setting}: expected NAME.KEY=VALUE with NAME one of {known}, "
            "as in --set demo.http_port=8100"
        )
    name = max(names, key=len)
    key, _, inner = path.removeprefix(f"{name}.").partition(".")
    models = [
        _with(entry, key, inner, _value(text), setting) if entry.name == name else entry
        for entry in profile.models
    ]
    return replace(profile, models=models)


def _with(entry: Entry, key: str, inner: str, value: Any, setting: str) -> Entry:
    known = [item.name for item in fields(entry)]
    if key not in known:
        raise UsageError(
            f"--set {setting}: there is no setting {key!r}; there is {', '.join(known)}"
        )
    if inner:
        table = asdict(entry)[key]
        if not isinstance(table, dict):
            raise UsageError(f"--set {setting}: {key} has no keys of its own")
        value = {**table, inner: value}
    if get_type_hints(type(entry))[key] == list[str]:
        value = _words(value)
    return decode(type(entry), {**asdict(entry), key: value}, f"--set {setting}", UsageError)


def _words(value: Any) -> Any:
    """`gpus=0`, `gpus=0,1` and `gpus=[0, 1]` mean the words "0" and "1"."""
    if isinstance(value, str):
        return value.split(",")
    items = value if isinstance(value, list) else [value]
    return [str(item) if type(item) is int else item for item in items]


def _value(text: str) -> Any:
    """As in TOML; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
