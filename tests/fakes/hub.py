"""A Hugging Face hub on this machine: serves its API over real HTTP, and fails on request.

Like the real one it redirects weights (files in Git LFS) to another host. It records
every request.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin")


@dataclass
class Repo:
    files: dict[str, bytes]
    revision: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool = False
    """The files need the hub's token; the listing is public."""
    private: bool = False
    """Without the hub's token the repository does not exist."""


@dataclass(frozen=True)
class Fault:
    """The fault of one request for a file's bytes."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    """Bytes of the body to send before the connection is cut."""
    silent_after: int | None = None
    """Bytes of the body to send before the hub goes silent until it is closed."""
    ignore_range: bool = False
    wrong_range: bool = False
    corrupt: bool = False


@dataclass(frozen=True)
class Request:
    host: str
    path: str
    range: tuple[int, int] | None
    authorization: str | None


class Hub:
    """`with Hub({"org/name": Repo(...)}) as hub`: serves on `hub.url` until the block ends."""

    def __init__(self, repos: dict[str, Repo], *, token: str = "hf_good") -> None:
        self.repos = repos
        self.token = token
        self.requests: list[Request] = []
        self.down: Fault | None = None
        """A fault of every answer about repositories."""
        self.down_next: list[Fault] = []
        """Faults of the next answers about repositories, one each."""
        self.fell_silent = threading.Event()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._hub = self._server("hub")
        self._cdn = self._server("cdn")
        self.url = f"http://127.0.0.1:{self._hub.server_port}"
        self._cdn_url = f"http://127.0.0.1:{self._cdn.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    def break_next(self, name: str, *faults: Fault) -> None:
        """Make the next requests for that file's bytes fail, one fault each."""
        self._faults[name] += faults

    def break_always(self, name: str, fault: Fault) -> None:
        self._faults[name] += [fault] * 10000

    def heal(self) -> None:
        self._faults.clear()

    def ranges_of(self, name: str) -> list[tuple[int, int] | None]:
        """The requested ranges of a file, in order."""
        return [
            request.range
            for request in self.requests
            if request.path.endswith("/" + name) and not self._is_redirect(request)
        ]

    def _is_redirect(self, request: Request) -> bool:
        return request.host == "hub" and request.path.endswith(LFS_SUFFIXES)

    def _server(self, host: str) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, host)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Print nothing: tests include clients that disconnect."""

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def _answer(self, handler: BaseHTTPRequestHandler, host: str) -> None:
        path = unquote(urlsplit(handler.path).path)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        request = Request(
            host,
            path,
            (int(wanted[1]), int(wanted[2])) if wanted else None,
            handler.headers.get("Authorization"),
        )
        with self._lock:
            self.requests.append(request)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._answer_info(handler, request, found[1], found[2] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._answer_file(handler, request, found[1], found[2], found[3])
        else:
            _send(handler, 404, b"{}")

    def _answer_info(
        self, handler: BaseHTTPRequestHandler, request: Request, name: str, revision: str
    ) -> None:
        repo = self.repos.get(name)
        with self._lock:
            fault = self.down_next.pop(0) if self.down_next else self.down
        if fault:
            _send(handler, fault.status or 500, b"<html>", **fault.headers)
        elif request.authorization not in (None, f"Bearer {self.token}"):
            message = "Invalid credentials in Authorization header"
            _send(handler, 401, b"{}", **{"X-Error-Message": message})
        elif repo is None or (repo.private and request.authorization is None):
            status = 404 if request.authorization else 401
            _send(handler, status, b"{}", **{"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", repo.revision):
            _send(handler, 404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [_sibling(file, content) for file, content in repo.files.items()]
            info = {"id": name, "sha": repo.revision, "gated": repo.gated, "siblings": siblings}
            _send(handler, 200, json.dumps(info).encode(), **{"Content-Type": "application/json"})

    def _answer_file(
        self, handler: BaseHTTPRequestHandler, request: Request, name: str, revision: str, file: str
    ) -> None:
        repo = self.repos[name]
        refused = repo.gated and request.authorization != f"Bearer {self.token}"
        if request.host == "hub" and refused:
            _send(handler, 403, b"{}", **{"X-Error-Code": "GatedRepo"})
        elif revision != repo.revision or file not in repo.files:
            _send(handler, 404, b"{}", **{"X-Error-Code": "EntryNotFound"})
        elif self._is_redirect(request):
            where = f"{self._cdn_url}{handler.path}?signature=secret"
            _send(handler, 302, b"", Location=where)
        else:
            self._send_bytes(handler, request, file, repo.files[file])

    def _send_bytes(
        self, handler: BaseHTTPRequestHandler, request: Request, file: str, content: bytes
    ) -> None:
        with self._lock:
            fault = self._faults[file].pop(0) if self._faults[file] else Fault()
        if fault.status:
            _send(handler, fault.status, b"no", **fault.headers)
            return
        if fault.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        start, stop = 0, len(content)
        handler.send_response(206 if request.range and not fault.ignore_range else 200)
        if request.range and not fault.ignore_range:
            start, stop = request.range[0], min(request.range[1] + 1, len(content))
            stated = start + 1 if fault.wrong_range else start
            handler.send_header("Content-Range", f"bytes {stated}-{stop - 1}/{len(content)}")
        handler.send_header("Content-Length", str(stop - start))
        handler.end_headers()
        body = content[start:stop]
        if fault.drop_after is not None:
            handler.wfile.write(body[: fault.drop_after])
            handler.close_connection = True
        elif fault.silent_after is not None:
            handler.wfile.write(body[: fault.silent_after])
            handler.wfile.flush()
            self.fell_silent.set()
            self._closing.wait()
            handler.close_connection = True
        else:
            handler.wfile.write(body)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": oid}
    if name.endswith(LFS_SUFFIXES):
        sha256 = hashlib.sha256(content).hexdigest()
        # A pointer's own hash, as git has it: not the content's.
        sibling["blobId"] = hashlib.sha1(sha256.encode(), usedforsecurity=False).hexdigest()
        sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
    return sibling


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
