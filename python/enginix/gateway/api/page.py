"""The page at /: static files of the package, so that it works without the internet."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
HEADERS = {
    # Browsers ask each time and get a 304: a new version shows at once.
    "Cache-Control": "no-cache",
    # Scripts and styles come from here alone, so that no text of a model can become one. Inside
    # another page's frame a user could press the buttons without seeing them.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
async def show_page(request: Request) -> Response:
    return _answer(request, "index.html")


@router.get("/docs")
@router.get("/redoc")
async def show_documentation(request: Request) -> Response:
    if request.scope.get("raw_path", b"").endswith(b"/"):
        # The page's links are relative, so that they work below any prefix.
        return RedirectResponse("../docs")
    return _answer(request, "docs.html")


@router.get("/page/{name:path}")
async def show_file(request: Request, name: str) -> Response:
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    body, kind, tag = FILES[name]
    headers = {**HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


def _read_files() -> dict[str, tuple[bytes, str, str]]:
    """Name -> content, type and tag. Read once: no request can name another file."""
    files = {}
    for path in FOLDER.rglob("*"):
        if path.suffix in TYPES:
            body = path.read_bytes()
            tag = f'"{sha256(body).hexdigest()[:16]}"'
            files[path.relative_to(FOLDER).as_posix()] = (body, TYPES[path.suffix], tag)
    return files


FILES = _read_files()
