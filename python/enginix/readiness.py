"""Checks over HTTP whether a server is ready."""

from __future__ import annotations

import httpx

TIMEOUT_SECONDS = 5.0


async def answers_ok(url: str, seconds: float = TIMEOUT_SECONDS) -> bool:
    """Whether GET `url` answers 200; an unreachable server is not ready, which is no error."""
    try:
        async with httpx.AsyncClient(timeout=seconds, trust_env=False) as client:
            return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
