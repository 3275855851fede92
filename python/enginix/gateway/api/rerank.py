"""/v1/rerank, as Jina and Cohere have it: passed on to a server with such a model."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import RequestError
from enginix.gateway.api.embeddings import check_count
from enginix.gateway.http.body import read, read_document
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import models_of
from enginix.gateway.passthrough.route import pass_as_it_is
from enginix.gateway.schema.embeddings import RerankRequest

router = APIRouter(tags=["Rerank"])

PATH = "/v1/rerank"
PATHS = (PATH, "/v2/rerank", "/rerank")


@router.post(PATHS[2], **described(RerankRequest))
@router.post(PATHS[1], **described(RerankRequest))
@router.post(PATH, **described(RerankRequest))
async def create_rerank(request: Request) -> Response:
    """Score documents by how well they answer a query."""
    asked = await read(request, RerankRequest)
    model = models_of(request).resolve(asked.model, asked.engine, task="rerank")
    if not asked.query:
        raise RequestError("query is empty; send at least one character", param="query")
    if not asked.documents:
        raise RequestError("documents is empty; send at least one", param="documents")
    check_count(len(asked.documents), "documents")
    # Cohere's and Jina's spelling of a document, which llama-server does not read.
    texts = [each if isinstance(each, str) else each.text for each in asked.documents]
    sent = {**await read_document(request), "documents": texts}
    return pass_as_it_is(request, model, PATH, sent)
