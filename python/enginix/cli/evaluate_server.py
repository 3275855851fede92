"""A server as a target of `enginix evaluate`: its address, its model, its key."""

from __future__ import annotations

from enginix.accuracy.server import ServerTarget
from enginix.bench.target import BARE, Target
from enginix.cli.api_keys import key_for_server
from enginix.cli.bench import only_model


def is_url(word: str) -> bool:
    return "://" in word or bool(BARE.match(word))


def find_server(url: str, model: str | None, option: str = "--model") -> ServerTarget:
    """`option` names the model on the command line, if the server has several."""
    key = key_for_server(url)
    address = Target(url, key)
    model = model or only_model(address.models(), url, option)
    return ServerTarget(address.url, model, key, _context(address, model))


def _context(address: Target, model: str) -> int | None:
    """How many tokens the model reads, as its server lists it."""
    listed = address.facts("/v1/models").get("data")
    for row in listed if isinstance(listed, list) else []:
        if isinstance(row, dict) and row.get("id") == model:
            context = row.get("max_model_len")
            return context if isinstance(context, int) and context > 1 else None
    return None
