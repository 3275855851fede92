"""What each route needs: nothing, an API key, or an operator's key.

One table, for what lets requests in, for /openapi.json and for docs/keys.md.
"""

from __future__ import annotations

from enum import StrEnum

from starlette.routing import compile_path


class Need(StrEnum):
    OPEN = "open"
    KEY = "key"
    ADMIN = "admin"
    """A key that is marked `admin`, where keys have names; any other key, where they have none."""


# In the order of the router, which takes the first that fits.
ROUTES = {
    ("POST", "/v1/chat/completions"): Need.KEY,
    ("POST", "/v1/completions"): Need.KEY,
    ("POST", "/v1/embeddings"): Need.KEY,
    ("POST", "/v1/rerank"): Need.KEY,
    ("POST", "/v2/rerank"): Need.KEY,
    ("POST", "/rerank"): Need.KEY,
    ("POST", "/api/v1/inference/stream"): Need.KEY,
    ("POST", "/v1/responses"): Need.KEY,
    ("POST", "/v1/responses/input_tokens"): Need.KEY,
    ("GET", "/v1/responses/{response_id}"): Need.KEY,
    ("GET", "/v1/responses/{response_id}/input_items"): Need.KEY,
    ("DELETE", "/v1/responses/{response_id}"): Need.ADMIN,
    ("POST", "/v1/messages"): Need.KEY,
    ("POST", "/v1/messages/count_tokens"): Need.KEY,
    ("POST", "/v1/models/load"): Need.ADMIN,
    ("POST", "/v1/models/unload"): Need.ADMIN,
    ("POST", "/v1/models/restart"): Need.ADMIN,
    ("GET", "/v1/models/{name:path}/log"): Need.ADMIN,
    ("GET", "/v1/requests"): Need.KEY,
    ("POST", "/v1/requests/{request_id:path}/cancel"): Need.ADMIN,
    ("GET", "/v1/models"): Need.KEY,
    ("GET", "/v1/models/{name:path}"): Need.KEY,
    ("POST", "/tokenize"): Need.KEY,
    ("POST", "/detokenize"): Need.KEY,
    ("GET", "/livez"): Need.OPEN,
    ("GET", "/readyz"): Need.OPEN,
    ("GET", "/health"): Need.OPEN,
    ("GET", "/version"): Need.OPEN,
    ("GET", "/metrics"): Need.OPEN,
    ("GET", "/v1/status"): Need.KEY,
    ("GET", "/"): Need.OPEN,
    ("GET", "/docs"): Need.OPEN,
    ("GET", "/redoc"): Need.OPEN,
    ("GET", "/page/{name:path}"): Need.OPEN,
    ("GET", "/openapi.json"): Need.OPEN,
}
# Whatever else is asked for below these needs a key, even if there is nothing.
GUARDED = ("/v1/", "/v2/", "/api/", "/tokenize", "/detokenize", "/rerank")

PATTERNS = [
    (method, compile_path(path)[0], need) for (method, path), need in ROUTES.items() if "{" in path
]


def need_of(method: str, path: str) -> Need:
    """What a request needs, by its path without a trailing slash."""
    if (method, path) in ROUTES:
        return ROUTES[method, path]
    for known, pattern, need in PATTERNS:
        if known == method and pattern.match(path):
            return need
    return Need.KEY if path.startswith(GUARDED) else Need.OPEN
