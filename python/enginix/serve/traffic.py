"""How many tokens real requests have got, model by model: the gateway counts them, we ask it."""

from __future__ import annotations

import re

import httpx

PATIENCE = 1.0
GENERATED = re.compile(
    r'^enginix_generated_tokens_total\{model="((?:[^"\\]|\\.)*)"\} (\S+)$', re.MULTILINE
)


class Traffic:
    """Reads a gateway's metrics: those of all its processes, and open to whoever has no key."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"
        self._client = httpx.AsyncClient(timeout=PATIENCE, trust_env=False)

    async def tokens(self, model: str) -> float | None:
        """None when the gateway does not say: that is no word about the model."""
        try:
            answer = await self._client.get(self._url)
        except httpx.TransportError:
            return None
        return counted(answer.text).get(model)

    async def close(self) -> None:
        await self._client.aclose()


def counted(metrics: str) -> dict[str, float]:
    """Model -> tokens generated for it, from Prometheus' text format."""
    return {model: float(value) for model, value in GENERATED.findall(metrics)}
