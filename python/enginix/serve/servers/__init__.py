"""The server programs that can serve a model. To add one: a file here, a line in this table."""

from __future__ import annotations

from enginix.errors import UsageError
from enginix.runtimes.runtime import Recipe
from enginix.serve.model_entry import ModelEntry
from enginix.serve.servers.edge_llm import EDGE_LLM
from enginix.serve.servers.llamacpp import LLAMACPP
from enginix.serve.servers.program import Reads, ServerProgram
from enginix.serve.servers.triton import TRITON
from enginix.serve.servers.trtllm import TRTLLM
from enginix.serve.servers.vllm import VLLM

# What a profile and a request call an engine -> the program that serves it.
SERVERS: dict[str, ServerProgram] = {
    TRITON.name: TRITON,
    TRTLLM.name: TRTLLM,
    VLLM.name: VLLM,
    LLAMACPP.name: LLAMACPP,
    EDGE_LLM.name: EDGE_LLM,
}


def server_for_kind(kind: str) -> ServerProgram:
    """The program that serves an engine kind unless a profile or a request chooses another."""
    return next(server for server in SERVERS.values() if kind in server.engine_kinds)


def server_for_form(reads: Reads) -> ServerProgram:
    """The program that reads that form unless a request chooses another."""
    return next(server for server in SERVERS.values() if server.reads is reads)


def server_called(word: str, where: str) -> ServerProgram:
    """The program called `word` in a models.json or a command line, at `where`."""
    for server in SERVERS.values():
        if word in server.names:
            return server
    raise UsageError(f"{where}: expected one of {', '.join(known_names())}, got {word!r}")


def known_names() -> list[str]:
    return [name for server in SERVERS.values() for name in server.names]


def recipes() -> dict[str, Recipe]:
    """Environment kind -> what `enginix setup` installs into it."""
    return {recipe.kind: recipe for server in SERVERS.values() for recipe in server.recipes}


def find_recipe(word: str) -> Recipe:
    """The recipe of an environment kind, or of the server program it holds."""
    named = {name: server.recipes[0] for server in SERVERS.values() for name in server.names}
    known = named | recipes()
    if word not in known:
        names = ", ".join(sorted({*SERVERS, *recipes()}))
        raise UsageError(f"there is no runtime kind {word!r}; expected one of {names}")
    return known[word]


def ports_of(entry: ModelEntry) -> dict[str, int]:
    """Setting that chooses a port of the entry's server -> port; 0 is still to be chosen.

    Empty if none of its servers runs here. Of several it is those of the first.
    """
    names = SERVERS[entry.engine].ports if entry.replicas_here else ()
    return {name: getattr(entry, name) for name in names}
