"""/v1/models: from memory, whatever the backends do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix.gateway.models import Model, RelayedModel
from enginix.gateway.state import gateway_of

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models of this server."""
    return {"object": "list", "data": [entry(model) for model in gateway_of(request).models]}


@router.get("/v1/models/{name:path}")
async def show_model(request: Request, name: str) -> dict[str, Any]:
    """One model, by name or alias."""
    return entry(gateway_of(request).models.resolve(name))


def entry(model: Model) -> dict[str, Any]:
    if isinstance(model, RelayedModel):
        return {
            "id": model.name,
            "object": "model",
            "created": model.created,
            "owned_by": "enginix",
            "root": model.backend.model,
            "parent": None,
            "kind": model.engine,
            "aliases": list(model.aliases),
            "permission": [],
        }
    manifest = model.manifest
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "enginix",
        "root": manifest.source.repo or model.name,
        "parent": None,
        "max_model_len": model.context,
        "kind": manifest.kind,
        "quantization": manifest.quantization.algo,
        "aliases": list(model.aliases),
        "reasoning": manifest.chat.reasoning,
        "tools": manifest.chat.tools,
        "permission": [],
    }
