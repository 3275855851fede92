"""The bodies of /v1/models/load, /v1/models/unload and /v1/models/restart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from enginix.gateway.schema.fields import Count, Positive, Schema


class SpeculativeDecoding(Schema):
    """How the model's server drafts tokens ahead."""

    method: str
    model: str = ""
    tokens: Positive = 3


class LoadRequest(Schema):
    """A model by its name, or by its directory and a new name."""

    model: str | None = None
    model_path: str | None = None
    engine: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_model_len: Count | None = None
    speculative: SpeculativeDecoding | None = None


class UnloadRequest(Schema):
    model: str


class RestartRequest(Schema):
    model: str
