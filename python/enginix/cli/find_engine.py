"""Which engine a command means: a directory, or a model and the places it may be built in."""

from __future__ import annotations

from pathlib import Path

from enginix.catalog.load import find_model
from enginix.cli import environment
from enginix.errors import NotAnEngine
from enginix.manifest import FILE_NAME

# Where users of TensorRT-LLM keep links to their engines.
LINKS = Path("~/.cache/trtllm-engines")


def find_engine(word: str) -> Path:
    """The engine directory; NotAnEngine says where it was looked for and how to build it."""
    directory = Path(word).expanduser()
    if "/" in word or (directory / FILE_NAME).is_file():
        return directory.absolute()
    # A word that is no path must be a model: an unknown one is answered with the nearest names.
    name = find_model(word).name
    if override := environment.engine_override():
        return override
    places = [environment.cache_home() / "engines" / name, LINKS.expanduser() / name]
    for place in places:
        if (place / FILE_NAME).is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    raise NotAnEngine(places[0], f"{name} is not built yet (looked in {looked})")
