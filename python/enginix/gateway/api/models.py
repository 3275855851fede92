"""/v1/models: answered from memory, without asking a backend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix.gateway.http.scope import models_of
from enginix.gateway.models.model import Model

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models of this gateway, in one shape for OpenAI's and Anthropic's clients."""
    models = [entry(model) for model in models_of(request)]
    return {
        "object": "list",
        "data": models,
        "has_more": False,
        "first_id": models[0]["id"] if models else None,
        "last_id": models[-1]["id"] if models else None,
    }


@router.get("/v1/models/{name:path}")
async def show_model(request: Request, name: str) -> dict[str, Any]:
    """One model, by name or alias."""
    return entry(models_of(request).resolve(name))


def entry(model: Model) -> dict[str, Any]:
    shared = {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "enginix",
        "type": "model",
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "root": model.root,
        "parent": model.parent,
        "aliases": list(model.aliases),
        "permission": [],
        "task": model.task,
        "input_modalities": ["text", "image"] if model.images else ["text"],
    }
    manifest = model.manifest
    if manifest is None:
        return {**shared, "kind": model.engine}
    return {
        **shared,
        "max_model_len": manifest.limits.max_seq_len,
        "max_input_tokens": manifest.limits.max_seq_len,
        "kind": manifest.kind,
        "quantization": manifest.quantization.algo,
        "reasoning": manifest.chat.reasoning,
        "tools": manifest.chat.tools,
    }
