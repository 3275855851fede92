"""/v1/models/load, /unload, /restart and /{name}/log: start, end, replace and read models' servers,
through the supervisor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix import supervision
from enginix.errors import BackendUnavailable, RequestError
from enginix.gateway.api.status import status_of
from enginix.gateway.http.body import read, require_json
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import gateway_of, models_of
from enginix.gateway.models.state import Gateway
from enginix.gateway.schema.lifecycle import LoadRequest, RestartRequest, UnloadRequest
from enginix.speculative import Speculative
from enginix.supervision import Changed, Load

router = APIRouter(tags=["Operation"])


class Change(Protocol):
    async def __call__(self, model: str, *, drain: float) -> Changed: ...


LOG_LINES = 200
MAX_LOG_LINES = 1000


@router.post("/v1/models/load", **described(LoadRequest))
async def load_model(request: Request) -> Response:
    """Start a model's server; answers once it serves, or at once with `?wait=false`."""
    gateway = gateway_of(request)
    require_json(request)
    asked = await read(request, LoadRequest)
    gateway.servers.require()
    wait = request.query_params.get("wait") != "false"
    changed = await gateway.servers.load(load_of(asked, gateway, wait=wait))
    status = await shown(gateway, changed)
    if wait:
        return JSONResponse(status)
    return JSONResponse({**status, "status": "loading", "state": "loading"}, 202)


@router.post("/v1/models/unload", **described(UnloadRequest))
async def unload_model(request: Request) -> dict[str, Any]:
    """Stop a model's server once its running requests are done."""
    return await _drained(request, UnloadRequest, gateway_of(request).servers.unload)


@router.post("/v1/models/restart", **described(RestartRequest))
async def restart_model(request: Request) -> dict[str, Any]:
    """Replace a model's servers one after the other, each once its running requests are done."""
    return await _drained(request, RestartRequest, gateway_of(request).servers.restart)


async def _drained(
    request: Request, schema: type[UnloadRequest | RestartRequest], change: Change
) -> dict[str, Any]:
    """The named model's status after `change`, which lets its running requests finish."""
    gateway = gateway_of(request)
    require_json(request)
    asked = await read(request, schema)
    gateway.servers.require()
    name = models_of(request).resolve(asked.model).served_by
    return await shown(gateway, await change(name, drain=gateway.settings.load.drain))


@router.get(
    "/v1/models/{name:path}/log",
    openapi_extra={
        "parameters": [
            {
                "name": "lines",
                "in": "query",
                "schema": {"type": "integer", "default": LOG_LINES, "maximum": MAX_LOG_LINES},
            }
        ]
    },
)
async def show_log(request: Request, name: str) -> dict[str, Any]:
    """The last lines of a server's log, at most 64 KB."""
    gateway = gateway_of(request)
    asked = request.query_params.get("lines", str(LOG_LINES))
    if not asked.isdecimal() or not 0 < int(asked) <= MAX_LOG_LINES:
        raise RequestError(
            f"lines: expected a number from 1 to {MAX_LOG_LINES}, got {asked[:40]!r}",
            param="lines",
        )
    gateway.servers.require()
    name = models_of(request).resolve(name).served_by
    tail = await gateway.servers.log(name, int(asked))
    return {"id": name, "object": "log", "path": tail.path, "lines": tail.lines}


def load_of(asked: LoadRequest, gateway: Gateway, *, wait: bool) -> Load:
    """Load a model that exists unchanged by its name; any other by the whole request."""
    drafts = asked.speculative
    request = supervision.LoadRequest(
        **asked.model_dump(exclude={"speculative"}),
        speculative=Speculative(**drafts.model_dump()) if drafts else None,
    )
    if asked.model is None or asked.model_path is not None:
        return Load(request=request, wait=wait)
    try:
        # An alias or part of a name works, as in every other request.
        name = gateway.models.resolve(asked.model, asked.engine).served_by
    except RequestError:
        if asked.model.startswith("/"):
            request = replace(request, model=None, model_path=asked.model)
        # The supervisor knows more models: the catalogue's, and those of its directories.
        return Load(request=request, wait=wait)
    request = replace(request, model=name)
    if request == supervision.LoadRequest(name, engine=asked.engine):
        return Load(name, wait=wait)
    return Load(request=request, wait=wait)


async def shown(gateway: Gateway, changed: Changed) -> dict[str, Any]:
    if gateway.following:
        await gateway.following.seen(changed.generation)
    state = gateway.states.get(changed.name)
    if state is None:
        raise BackendUnavailable(
            f"{changed.name} was loaded, but this gateway cannot serve it; its log says why"
        )
    return await status_of(state, (await gateway.servers.status()).get(changed.name))
