"""/v1/status: what the page at / shows, and what an operator asks first."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix import __version__
from enginix.gateway.api.models import entry
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.health import Health
from enginix.gateway.models.state import Availability, ModelState

router = APIRouter(tags=["Operation"])


@router.get("/v1/status")
async def show_status(request: Request) -> dict[str, Any]:
    """Every model with its health, its load and its engine."""
    gateway = gateway_of(request)
    servers = await gateway.servers.status()
    return {
        "version": __version__,
        "uptime_seconds": round(time.time() - gateway.started, 1),
        "stopping": gateway.stopping,
        "models": [
            await lane_status(lane, servers.get(name)) for name, lane in gateway.lanes.items()
        ],
    }


async def lane_status(lane: ModelState, server: dict[str, Any] | None = None) -> dict[str, Any]:
    """`server`: what the supervisor knows of its process."""
    health = await health_of(lane)
    status = {
        **entry(lane.model),
        "state": "loaded" if health.ok else "error",
        "reason": health.reason,
        "presence": lane.presence,
        "running": lane.admission.running,
        "waiting": lane.admission.waiting + lane.waiting_for_load,
        "queued": lane.admission.waiting + lane.waiting_for_load,
        "last_token_seconds": lane.liveness.seconds_since_token(),
        "status": "loaded" if health.ok else "error",
    }
    if server is not None:
        status |= server
        status["state"] = server["status"]
    manifest = lane.model.manifest
    if manifest is None:
        return status
    return {
        **status,
        "architecture": manifest.architecture,
        "limits": {
            "max_batch_size": manifest.limits.max_batch_size,
            "max_seq_len": manifest.limits.max_seq_len,
        },
    }


async def health_of(lane: ModelState) -> Health:
    """Nobody is asked for a sign of life whom nobody may ask."""
    if lane.presence == Availability.OPEN:
        return await lane.liveness.health()
    return Health(True, lane.reason or "it is loaded when it is asked for")
