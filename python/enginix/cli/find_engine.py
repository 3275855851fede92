"""Which engine a command means: a directory, or a name and the places it may be built in."""

from __future__ import annotations

from pathlib import Path

from enginix.catalog.load import find_model, load_catalog
from enginix.cli import environment
from enginix.errors import ModelUnknown, NotAnEngine, UsageError
from enginix.manifest import FILE_NAME

# Where users of TensorRT-LLM keep links to their engines.
LINKS = Path("~/.cache/trtllm-engines")


def find_engine(word: str | None) -> Path:
    """The engine directory; NotAnEngine says where it was looked for and how to build it."""
    override = environment.engine_override()
    if word is None:
        if override is None:
            raise UsageError("no engine was named: pass its directory or name, or ENGINIX_ENGINE")
        return override
    directory = Path(word).expanduser()
    if "/" in word or (directory / FILE_NAME).is_file():
        return directory.absolute()
    # A word that is no path must be a name: an unknown one is answered with the nearest names.
    name = _known_name(word)
    if override:
        return override
    places = [parent / name for parent in _parents()]
    for place in places:
        if (place / FILE_NAME).is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    raise NotAnEngine(places[0], f"{name} is not built yet (looked in {looked})")


def _known_name(word: str) -> str:
    """A name that an engine was given where engines are kept, or a model's of the catalogue."""
    kept = {
        manifest.parent.name for parent in _parents() for manifest in parent.glob(f"*/{FILE_NAME}")
    }
    if word in kept:
        return word
    try:
        return find_model(word).name
    except ModelUnknown:
        raise ModelUnknown(word, kept | load_catalog().keys()) from None


def _parents() -> list[Path]:
    return [environment.cache_home() / "engines", LINKS.expanduser()]
