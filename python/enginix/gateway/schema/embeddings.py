"""The bodies of /v1/embeddings and /v1/rerank."""

from __future__ import annotations

from typing import Literal

from enginix.gateway.schema.fields import Count, Items, Schema, Token


class EmbeddingsRequest(Schema):
    model: str | None = None
    engine: str | None = None
    input: str | Items[str] | Items[Token] | Items[Items[Token]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


class Document(Schema):
    text: str


class RerankRequest(Schema):
    model: str | None = None
    engine: str | None = None
    query: str
    documents: Items[str | Document]
    top_n: Count | None = None
