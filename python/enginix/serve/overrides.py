"""`--set NAME.KEY=VALUE`: a profile with some of its values changed."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, get_type_hints

from enginix.errors import UsageError
from enginix.serve.profile import ModelEntry, Profile, check, check_type


def overridden(profile: Profile, settings: Sequence[str]) -> Profile:
    """Every setting is `model.key=value` or `model.options.key=value`; checked like a profile."""
    for setting in settings:
        profile = _changed(profile, setting)
    check(profile, profile.name)
    return profile


def _changed(profile: Profile, setting: str) -> Profile:
    path, equals, text = setting.partition("=")
    # The longest name that fits: names may hold dots.
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


def _with(entry: ModelEntry, key: str, inner: str, value: Any, setting: str) -> ModelEntry:
    if key not in {item.name for item in fields(ModelEntry)}:
        known = ", ".join(item.name for item in fields(ModelEntry))
        raise UsageError(f"--set {setting}: a model has no {key!r}; it has {known}")
    if inner:
        table = getattr(entry, key)
        if not isinstance(table, dict):
            raise UsageError(f"--set {setting}: {key} has no keys of its own")
        value = {**table, inner: value}
    check_type(value, get_type_hints(ModelEntry)[key], f"--set {setting}")
    return replace(entry, **{key: value})


def _value(text: str) -> Any:
    """As in TOML; a bare word is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
