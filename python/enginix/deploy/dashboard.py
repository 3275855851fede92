"""What Grafana shows of gateways and their models."""

from __future__ import annotations

import json

from enginix.deploy.grafana import dashboard
from enginix.deploy.panels import ERRORS, KEYS, LATENCIES, MODELS, OVERVIEW, QUEUES, SERVERS
from enginix.deploy.queries import VARIABLES

ROWS = {
    "Overview": OVERVIEW,
    "Models": MODELS,
    "Latency": LATENCIES,
    "Queues": QUEUES,
    "Errors": ERRORS,
    "Servers": SERVERS,
    "API keys": KEYS,
}


def dashboard_text() -> str:
    """The file that Grafana imports."""
    text = "Gateways of enginix and their models, from their /metrics."
    return json.dumps(dashboard("enginix", "enginix", text, VARIABLES, ROWS), indent=2) + "\n"
