"""The page at /: one static file."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

router = APIRouter(include_in_schema=False)

# Inside another page's frame a user could press its buttons without seeing them.
HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
FILE = Path(__file__).parent.parent / "page" / "index.html"


@router.get("/")
async def show_page() -> Response:
    return FileResponse(FILE, media_type="text/html", headers=HEADERS)
