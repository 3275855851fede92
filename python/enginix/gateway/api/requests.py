"""/v1/requests: the requests that wait or run, and an end to one of them; for operators."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix.errors import ResourceNotFound
from enginix.gateway.http.body import require_json
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.running import RunningRequest

router = APIRouter(tags=["Operation"])


@router.get("/v1/requests")
async def list_requests(request: Request) -> dict[str, Any]:
    """What waits or runs in this process, the oldest first; never a prompt or an answer."""
    running = gateway_of(request).requests()
    running.sort(key=lambda one: one.record.started)
    return {"object": "list", "data": [row(one) for one in running]}


@router.post("/v1/requests/{request_id:path}/cancel")
async def cancel_request(request: Request, request_id: str) -> dict[str, Any]:
    """End a request; its client gets the error `request_stopped`, in its stream or as a 410."""
    require_json(request)
    # Clients choose ids, so several requests may have one.
    found = [one for one in gateway_of(request).requests() if one.record.id == request_id]
    if not found:
        raise ResourceNotFound(
            f"no request with the id {request_id!r} waits or runs here; it may have ended, or run "
            "in another of this gateway's workers: GET /v1/requests lists those of one",
        )
    for one in found:
        one.stop()
    return {"id": request_id, "object": "request", "cancelled": len(found)}


def row(running: RunningRequest) -> dict[str, Any]:
    record = running.record
    return {
        "id": record.id,
        "object": "request",
        "model": record.model,
        "route": record.path,
        "client": record.client,
        "state": running.state,
        "age_seconds": round(time.monotonic() - record.started, 2),
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": running.tokens,
    }
