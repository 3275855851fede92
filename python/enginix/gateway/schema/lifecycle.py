"""The bodies of /v1/models/load and /v1/models/unload."""

from __future__ import annotations

from enginix.gateway.schema.fields import Schema


class LoadRequest(Schema):
    model: str
    engine: str | None = None


class UnloadRequest(Schema):
    model: str
