"""The page at /: one static file."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

router = APIRouter(include_in_schema=False)

FILE = Path(__file__).parent.parent / "page" / "index.html"


@router.get("/")
async def show_page() -> Response:
    return FileResponse(FILE, media_type="text/html", headers={"Cache-Control": "no-cache"})
