"""/v1/models/load and /v1/models/unload: start and end the servers of this gateway's models."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix.errors import BackendError, RequestError
from enginix.gateway.api.status import lane_status
from enginix.gateway.body import read
from enginix.gateway.gateway import Gateway, Lane
from enginix.gateway.lifecycle import load, unload
from enginix.gateway.models import RelayedModel
from enginix.gateway.openapi import described
from enginix.gateway.schema.lifecycle import LoadRequest, UnloadRequest
from enginix.gateway.state import gateway_of

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Operation"])


@router.post("/v1/models/load", **described(LoadRequest))
async def load_model(request: Request) -> Response:
    """Start a model's server; answers when it serves, with `?wait=false` at once."""
    gateway = gateway_of(request)
    asked = await read(request, LoadRequest)
    lane = gateway.lanes[gateway.models.resolve(asked.model).name]
    engine = lane.model.engine if isinstance(lane.model, RelayedModel) else "triton"
    if asked.engine not in (None, engine):
        raise RequestError(
            f"{lane.model.name} is served by {engine} here, not by {asked.engine}; "
            "leave engine out",
            param="engine",
        )
    gateway.servers.require()
    if request.query_params.get("wait") != "false":
        await load(gateway, lane)
        return JSONResponse(await shown(gateway, lane.model.name))
    # The supervisor goes on with it; what it fails with is in the status.
    background = BackgroundTask(in_background, gateway, lane)
    body = {**await shown(gateway, lane.model.name), "status": "loading"}
    return JSONResponse(body, 202, background=background)


@router.post("/v1/models/unload", **described(UnloadRequest))
async def unload_model(request: Request) -> dict[str, Any]:
    """End a model's server once its running requests are done."""
    gateway = gateway_of(request)
    asked = await read(request, UnloadRequest)
    lane = gateway.lanes[gateway.models.resolve(asked.model).name]
    await unload(gateway, lane)
    return await shown(gateway, lane.model.name)


async def in_background(gateway: Gateway, lane: Lane) -> None:
    try:
        await load(gateway, lane)
    except BackendError as error:
        logger.error("%s", error)


async def shown(gateway: Gateway, model: str) -> dict[str, Any]:
    servers = await gateway.servers.status()
    return await lane_status(gateway.lanes[model], servers.get(model))
