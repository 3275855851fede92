"""Reads from the gateway's metrics how real requests to a model's server fare.

Tokens show that it works; a request that waits while later ones are answered, and one that has
timed out, are reasons to probe it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import httpx

from enginix.serve.liveness import Seen

PATIENCE = 1.0
SAMPLE = re.compile(
    r"^(enginix_(?:generated_tokens_total|stalled_requests|errors_total))"
    r"\{([^}]*)\} (\S+)$",
    re.MULTILINE,
)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
TIMED_OUT = "BackendTimedOut"


class Traffic:
    """Reads a gateway's metrics, which cover all its processes and need no API key."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"
        self._client = httpx.AsyncClient(timeout=PATIENCE, trust_env=False)
        self._timed_out: dict[str, float] = {}

    async def seen(self, model: str, server: str, adapters: Collection[str] = ()) -> Seen:
        """Empty when the gateway does not answer: that says nothing about the model.

        Each of its servers learns of a time-out once. The server's adapters count as the model.
        """
        try:
            answer = await self._client.get(self._url)
        except httpx.TransportError:
            return Seen()
        counts = counted(answer.text, model, *adapters)
        before = self._timed_out.get(server, counts.timed_out)
        self._timed_out[server] = counts.timed_out
        return Seen(counts.tokens, counts.stalled > 0 or counts.timed_out > before)

    async def close(self) -> None:
        await self._client.aclose()


@dataclass(slots=True)
class Counts:
    """One server's metrics."""

    tokens: float | None = None
    stalled: float = 0.0
    timed_out: float = 0.0


def counted(metrics: str, *models: str) -> Counts:
    """Parse Prometheus' text format; the sums of these models."""
    counts = Counts()
    for name, labels, value in SAMPLE.findall(metrics):
        label = dict(LABEL.findall(labels))
        if label.get("model") not in models:
            continue
        match name:
            case "enginix_generated_tokens_total":
                counts.tokens = (counts.tokens or 0.0) + float(value)
            case "enginix_stalled_requests":
                counts.stalled += float(value)
            case "enginix_errors_total" if label.get("kind") == TIMED_OUT:
                counts.timed_out += float(value)
    return counts
