"""Asks a server over HTTP whether it is ready."""

from __future__ import annotations

import httpx

PATIENCE = 5.0


async def answers_ok(url: str, seconds: float = PATIENCE) -> bool:
    """Whether GET `url` answers 200; a server that is not there yet is not ready, not an error."""
    try:
        async with httpx.AsyncClient(timeout=seconds, trust_env=False) as client:
            return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
