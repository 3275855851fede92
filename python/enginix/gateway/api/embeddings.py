"""/v1/embeddings: passed on to a server that makes them."""

from __future__ import annotations

import base64
import re
from functools import partial

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import GenerationFailed, RequestError
from enginix.gateway.http.body import read, read_document
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import models_of
from enginix.gateway.passthrough.route import pass_as_it_is
from enginix.gateway.schema.embeddings import EmbeddingsRequest

router = APIRouter(tags=["OpenAI"])

PATH = "/v1/embeddings"
# OpenAI's own limit.
MAX_INPUTS = 2048
BYTES_PER_NUMBER = 4
EMBEDDING = re.compile(rb'"embedding"\s*:\s*(\[[^\]]*\]|"[^"]*")')


@router.post(PATH, **described(EmbeddingsRequest))
async def create_embeddings(request: Request) -> Response:
    """Embed one text or several."""
    asked = await read(request, EmbeddingsRequest)
    model = models_of(request).resolve(asked.model, asked.engine, task="embed")
    check_inputs(asked.input)
    # vLLM's route takes messages, too, whose images it would fetch.
    sent = {
        key: value for key, value in (await read_document(request)).items() if key != "messages"
    }
    dimensions = asked.dimensions
    check = partial(check_dimensions, dimensions, model.name) if dimensions else None
    return pass_as_it_is(request, model, PATH, sent, check)


def check_inputs(asked: str | list[str] | list[int] | list[list[int]]) -> None:
    """Raise RequestError for what no server embeds."""
    if not asked:
        raise RequestError("input is empty; send at least one text or token", param="input")
    if isinstance(asked, str) or isinstance(asked[0], int):
        return
    check_count(len(asked), "input")
    for place, item in enumerate(asked):
        if not item:
            raise RequestError(f"input[{place}] is empty; leave it out", param=f"input[{place}]")


def check_count(count: int, param: str) -> None:
    if count > MAX_INPUTS:
        raise RequestError(
            f"{param}: {count} of them, this server takes at most {MAX_INPUTS} at once; send "
            "several requests",
            param=param,
        )


def check_dimensions(asked: int, model: str, reply: bytes) -> None:
    """Raise RequestError if the embeddings have another length: llama-server ignores the field."""
    found = dimensions_of(reply)
    if not found:
        raise GenerationFailed("the server's reply has no embeddings")
    if found != asked:
        raise RequestError(
            f"dimensions: {asked} requested, but the embeddings of {model} have {found} and its "
            "server does not shorten them; leave it out",
            param="dimensions",
            code="unsupported_parameter",
        )


def dimensions_of(reply: bytes) -> int:
    """Of the first embedding: all have the same, and there may be thousands."""
    first = EMBEDDING.search(reply)
    try:
        embedding = orjson.loads(first[1]) if first else None
        if isinstance(embedding, str):
            return len(base64.b64decode(embedding)) // BYTES_PER_NUMBER
        return len(embedding or ())
    except ValueError:
        return 0
