"""/v1/status: every model with its health, its load and its engine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix import __version__
from enginix.gateway.api.models import entry
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.health import Health
from enginix.gateway.models.peers import Traffic, traffic_of
from enginix.gateway.models.state import ModelState
from enginix.supervision import Availability, ServerStatus

router = APIRouter(tags=["Operation"])


@router.get("/v1/status")
async def show_status(request: Request) -> dict[str, Any]:
    """Every model with its health, its load and its engine."""
    gateway = gateway_of(request)
    servers, reports = await asyncio.gather(gateway.servers.status(), gateway.peers.reports())
    return {
        "version": __version__,
        "supervised": gateway.settings.supervisor is not None,
        "uptime_seconds": round(time.time() - gateway.started, 1),
        "stopping": gateway.stopping,
        "models": [
            await status_of(state, servers.get(name), traffic_of(reports, name))
            for name, state in gateway.states.items()
        ],
    }


async def status_of(
    state: ModelState, server: ServerStatus | None = None, traffic: Traffic | None = None
) -> dict[str, Any]:
    """`server`: what the supervisor knows of the model's process. `traffic`: of all workers."""
    traffic = traffic or state.traffic
    health = await health_of(state)
    status = {
        **entry(state.model),
        "state": "loaded" if health.ok else "error",
        "healthy": health.ok,
        "reason": health.reason,
        "presence": state.presence,
        "running": traffic.running,
        "waiting": traffic.waiting,
        "queued": traffic.waiting,
        "last_token_seconds": state.liveness.seconds_since_token(),
        "tokens_per_second": round(traffic.tokens_per_second, 1),
        "first_token_seconds": traffic.first_token_seconds,
        "status": "loaded" if health.ok else "error",
    }
    if server is not None:
        status |= asdict(server)
        status["state"] = server.status
        if server.status == "loaded":
            status["uptime_seconds"] = round(time.time() - server.since, 1)
    manifest = state.model.manifest
    if manifest is None:
        return status
    return {
        **status,
        "context": manifest.limits.max_seq_len,
        "architecture": manifest.architecture,
        "limits": {
            "max_batch_size": manifest.limits.max_batch_size,
            "max_seq_len": manifest.limits.max_seq_len,
        },
        "weights_bytes": manifest.weights_bytes,
        "ranks": manifest.parallelism.world_size,
        "built_for_gpu": manifest.built_with.gpu_name,
    }


async def health_of(state: ModelState) -> Health:
    """Probe only models that accept requests."""
    if state.presence == Availability.OPEN:
        return await state.liveness.health()
    return Health(True, state.reason or "it is loaded when it is asked for")
