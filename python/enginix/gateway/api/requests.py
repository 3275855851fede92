"""/v1/requests: lets operators list the requests that wait or run, and stop one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix.errors import ResourceNotFound
from enginix.gateway.http.body import require_json
from enginix.gateway.http.scope import gateway_of, record_of

router = APIRouter(tags=["Operation"])


@router.get("/v1/requests")
async def list_requests(request: Request) -> dict[str, Any]:
    """The requests that wait or run, oldest first; never a prompt or an answer.

    Those of its own key, for a named key that is not an operator's.
    """
    key = record_of(request).key
    reports = await gateway_of(request).peers.reports()
    rows = [row for report in reports for row in report.requests]
    if key is not None and not key.admin:
        rows = [row for row in rows if row["key"] == key.name]
    rows.sort(key=lambda row: (-float(row["age_seconds"]), row["id"]))
    return {"object": "list", "data": rows}


@router.post("/v1/requests/{request_id:path}/cancel")
async def cancel_request(request: Request, request_id: str) -> dict[str, Any]:
    """End a request; its client gets the error `request_stopped`, in its stream or as a 410."""
    require_json(request)
    reports = await gateway_of(request).peers.reports(cancel=request_id)
    cancelled = sum(report.cancelled for report in reports)
    if not cancelled:
        raise ResourceNotFound(
            f"no request with the id {request_id!r} waits or runs here; GET /v1/requests lists "
            "those that do",
            param="request_id",
            code="request_not_found",
        )
    return {"id": request_id, "object": "request", "cancelled": cancelled}
