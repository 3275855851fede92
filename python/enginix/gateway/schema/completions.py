"""The body of /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from enginix.gateway.schema.chat import GuidedFields
from enginix.gateway.schema.fields import (
    Count,
    Integer,
    Items,
    NotNegative,
    Priority,
    SamplingFields,
    StreamOptions,
)


class CompletionRequest(SamplingFields, GuidedFields):
    model: str | None = None
    engine: str | None = None
    """Selects one of the engines that serve the model."""
    prompt: str | Items[str] | Items[Integer] | Items[Items[Integer]]
    priority: Priority | None = None
    n: Count | None = None
    best_of: Count | None = None
    stop: str | Items[str] | None = None
    max_tokens: NotNegative | None = None
    logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Known but not supported: refused by name instead of ignored.
    suffix: str | None = None
    use_beam_search: bool | None = None
    prompt_logprobs: Any = None
