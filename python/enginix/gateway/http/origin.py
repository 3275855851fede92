"""Rejects requests from web pages that the operator has not allowed. Plain ASGI, for streams.

A browser sends a page's requests to any address, including this machine's, and without a
preflight if the request looks like a form's. It always sends the page's origin in `Origin` and
`Sec-Fetch-Site`. A page whose own name resolves to this machine (DNS rebinding) has our origin; the
name in `Host` reveals it. Programs send neither `Origin` nor `Sec-Fetch-Site`, and pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from enginix.errors import ForeignOrigin, RequestError, UnknownHost
from enginix.gateway.http.access import Need, need_of
from enginix.gateway.http.middleware import failure_response
from enginix.gateway.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})
# What only they send.
OF_BROWSERS = frozenset({b"origin", b"sec-fetch-site"})
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class BrowserGuard:
    """Answers 403 to a foreign page, and to a host name that is not this server's."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = settings.cors_origins
        self._hosts = settings.allowed_hosts
        self._keyless = settings.keyless

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self._app
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            app = failure_response(refusal, scope["path"])
        return app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RequestError | None:
        of_browser = False
        for name, value in scope["headers"]:
            if name == b"host" and self._hosts:
                host = value.decode("latin-1")
                if host_name(host) not in self._hosts:
                    return UnknownHost(host)
            elif name in OF_BROWSERS:
                of_browser = True
        if not of_browser or scope["method"] in READ_ONLY or not self._checks_origin(scope):
            return None
        return self._foreign(Headers(scope=scope))

    def _checks_origin(self, scope: Scope) -> bool:
        # With keys, a page needs one to generate; changing what is loaded needs both.
        changes = scope["method"] != "POST" or need_of("POST", scope["path"]) == Need.ADMIN
        return self._keyless or changes

    def _foreign(self, headers: Headers) -> ForeignOrigin | None:
        site = headers.get("sec-fetch-site")
        origins = headers.getlist("origin")
        if "*" in self._origins or (origins and self._origins.issuperset(origins)):
            return None
        if site is not None and site not in ("same-origin", "none"):
            return ForeignOrigin(origins[0] if origins else site)
        if site == "same-origin":
            # Reliable even if a proxy in between has rewritten the host.
            return None
        hosts = headers.getlist("host")
        return next((ForeignOrigin(each) for each in origins if not is_ours(each, hosts)), None)


def host_name(host: str) -> str:
    """A Host header's name, without its port and trailing dot."""
    name, colon, port = host.strip().lower().rpartition(":")
    whole = name if colon and port.isdigit() and not name.endswith(":") else host.strip().lower()
    return whole.removesuffix(".")


def is_ours(origin: str, hosts: Iterable[str]) -> bool:
    """Whether a page from there was served under one of the requested host names."""
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return False
    port = DEFAULT_PORTS.get(parts.scheme)
    if port is None:
        return False
    place = parts.netloc.removesuffix(port)
    return any(place == host.strip().lower().removesuffix(port) for host in hosts)
