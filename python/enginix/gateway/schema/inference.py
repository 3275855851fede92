"""The body of /api/v1/inference/stream."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from enginix.gateway.schema.fields import Fraction, Integer, Items, Positive, Priority, Schema, TopK


class InferenceRequest(Schema):
    """Camel case, and streams by default."""

    modelId: str
    prompt: str
    maxTokens: Positive = 128
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    topP: Fraction = 0.95
    topK: TopK | None = None
    seed: Integer | None = None
    stop: str | Items[str] | None = None
    stream: bool = True
    priority: Priority | None = None
