"""The bodies of /v1/embeddings and /v1/rerank."""

from __future__ import annotations

from typing import Literal

from enginix.gateway.schema.fields import Count, Schema, Token


class EmbeddingsRequest(Schema):
    model: str | None = None
    engine: str | None = None
    input: str | list[str] | list[Token] | list[list[Token]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


class Document(Schema):
    text: str


class RerankRequest(Schema):
    model: str | None = None
    engine: str | None = None
    query: str
    documents: list[str | Document]
    top_n: Count | None = None
