"""Finds a command's engine: a directory, or a name in the places where engines are built."""

from __future__ import annotations

import shlex
from pathlib import Path

from enginix.catalog.load import find_model, load_catalog
from enginix.cli import environment
from enginix.errors import ModelUnknown, NotAnEngine, UsageError
from enginix.manifest import FILE_NAME, read_manifest

# Where users of TensorRT-LLM keep links to their engines.
LINKS = Path("~/.cache/trtllm-engines")


def find_engine(word: str | None) -> Path:
    """The engine directory; NotAnEngine says where this looked and how to build it."""
    if word is None:
        return _only_given()
    directory = Path(word).expanduser()
    if "/" in word or (directory / FILE_NAME).is_file():
        return directory.absolute()
    # A word that is not a path must be a name; the error for an unknown one suggests names.
    try:
        name = _known_name(word)
    except ModelUnknown:
        if not directory.exists():
            raise
        # The caller that opens it reports what it is instead of an engine.
        return directory.absolute()
    if given := given_engine(name):
        return given
    places = [parent / name for parent in _parents()]
    for place in places:
        if (place / FILE_NAME).is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    build = shlex.join(["enginix", "engine", "build", name, "--out", str(places[0])])
    raise NotAnEngine(places[0], f"{name} is not built yet (looked in {looked})", build)


def find_directory(word: str) -> Path:
    """Likewise, for commands that also explain why a path is not an engine."""
    path = Path(word)
    return path if path.exists() else find_engine(word)


def given_engine(name: str) -> Path | None:
    """The one that ENGINIX_ENGINE gives for a model."""
    given = environment.given_engines()
    if len(given) == 1:
        return given[0]
    return next((engine for engine in given if read_manifest(engine).name == name), None)


def _only_given() -> Path:
    given = environment.given_engines()
    if not given:
        raise UsageError("no engine was named: pass its directory or name, or ENGINIX_ENGINE")
    if len(given) > 1:
        raise UsageError(f"ENGINIX_ENGINE names {len(given)} engines; say which one is meant")
    return given[0]


def _known_name(word: str) -> str:
    """The name of an engine in enginix' own directory, or of a catalogue model."""
    kept = {
        manifest.parent.name
        for parent in _parents()
        # A hidden directory is being built or removed.
        for manifest in parent.glob(f"[!.]*/{FILE_NAME}")
    }
    if word in kept:
        return word
    try:
        return find_model(word).name
    except ModelUnknown:
        raise ModelUnknown(word, kept | load_catalog().keys()) from None


def _parents() -> list[Path]:
    return [environment.cache_home() / "engines", LINKS.expanduser()]
