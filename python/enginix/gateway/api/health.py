"""/livez, /readyz and /health: the process, its readiness, its models; and /metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix import __version__
from enginix.gateway.api.status import health_of
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.state import Gateway

router = APIRouter(tags=["Operation"])

# prometheus-client has had a name for it only since 0.23.
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/livez")
async def show_liveness() -> dict[str, str]:
    """The process answers; it says nothing about the models."""
    return {"status": "ok"}


@router.get("/readyz")
async def show_readiness(request: Request) -> Response:
    """Send requests here: tokens come out, and the server is not stopping."""
    gateway = gateway_of(request)
    if gateway.stopping:
        return JSONResponse({"status": "stopping"}, 503, {"Retry-After": "5"})
    return await health_response(gateway)


@router.get("/health")
async def show_health(request: Request) -> Response:
    """Green only while tokens come out of every model."""
    return await health_response(gateway_of(request))


@router.get("/version")
async def show_version() -> dict[str, str]:
    return {"version": __version__}


@router.get("/metrics")
async def show_metrics(request: Request) -> Response:
    """Prometheus' text format."""
    gateway = gateway_of(request)
    for state in gateway.states.values():
        gateway.note_late_tokens(state)
    body = await run_in_threadpool(gateway.metrics.exposition)
    return Response(body, media_type=EXPOSITION)


async def health_response(gateway: Gateway) -> Response:
    models: dict[str, Any] = {}
    for name, state in gateway.states.items():
        # An unloaded model is no reason to send the traffic elsewhere.
        health = await health_of(state)
        models[name] = {"ok": health.ok, "reason": health.reason}
    ok = all(model["ok"] for model in models.values())
    body = {"status": "ok" if ok else "failing", "models": models}
    return JSONResponse(body, 200 if ok else 503)
