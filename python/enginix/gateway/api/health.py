"""/livez, /readyz and /health: the process, its readiness, its models; and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import chain

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix import __version__
from enginix.gateway.api.status import health_of
from enginix.gateway.http.scope import gateway_of
from enginix.gateway.models.conditions import Condition
from enginix.gateway.models.health import Health
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.state import Gateway
from enginix.supervision import Availability

router = APIRouter(tags=["Operation"])

# prometheus-client has had a name for it only since 0.23.
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/livez")
async def show_liveness() -> dict[str, str]:
    """The process answers; it says nothing about the models."""
    return {"status": "ok"}


@router.get("/readyz")
async def show_readiness(request: Request, model: str | None = None) -> Response:
    """Send requests here, or those for one model: tokens come out, and it is not stopping."""
    gateway = gateway_of(request)
    if gateway.leaving:
        return JSONResponse({"status": "stopping"}, 503, {"Retry-After": "5"})
    if model is None:
        return await health_response(gateway.states.values())
    state = gateway.states[gateway.models.resolve(model).name]
    if state.presence == Availability.CLOSED:
        return models_response({state.model.name: Health(False, state.reason)})
    return await health_response([state])


@router.get("/health")
async def show_health(request: Request) -> Response:
    """Green only while tokens come out of every model."""
    return await health_response(gateway_of(request).states.values())


@router.get("/version")
async def show_version() -> dict[str, str]:
    return {"version": __version__}


@router.get("/metrics")
async def show_metrics(request: Request) -> Response:
    """Prometheus' text format."""
    gateway = gateway_of(request)
    for state in gateway.states.values():
        gateway.note_late_tokens(state)
    servers, conditions = await asyncio.gather(
        asyncio.gather(
            # The address of a model that is not loaded may be another's.
            *(
                state.server_metrics.samples()
                for state in gateway.states.values()
                if state.server_metrics and state.presence == Availability.OPEN
            )
        ),
        conditions_of(gateway),
    )
    samples = [*chain.from_iterable(servers)]
    home = gateway.settings.home
    body = await run_in_threadpool(gateway.metrics.exposition, samples, conditions, home)
    return Response(body, media_type=EXPOSITION)


async def conditions_of(gateway: Gateway) -> list[Condition]:
    """Every model's, for the metrics."""
    servers = await gateway.servers.recent_status()
    # A model may be added meanwhile.
    states = dict(gateway.states)
    generate = (state.generates(servers.get(name)) for name, state in states.items())
    found = await asyncio.gather(*generate)
    return [Condition(name, ok, servers.get(name)) for name, ok in zip(states, found, strict=True)]


async def health_response(states: Iterable[ModelState]) -> Response:
    # An unloaded model is no reason to send the traffic elsewhere.
    return models_response({state.model.name: await health_of(state) for state in states})


def models_response(models: Mapping[str, Health]) -> Response:
    ok = all(health.ok for health in models.values())
    body = {
        "status": "ok" if ok else "failing",
        "models": {
            name: {"ok": health.ok, "reason": health.reason} for name, health in models.items()
        },
    }
    return JSONResponse(body, 200 if ok else 503)
