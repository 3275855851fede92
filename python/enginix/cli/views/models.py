"""Shows the models of running gateways as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from enginix.cli.views.console import Console, print_table

COLUMNS = (
    "model",
    "engine",
    "status",
    "since",
    "pid",
    "running",
    "queued",
    "last token",
    "restarts",
)


def show(models: Sequence[dict[str, Any]]) -> None:
    """Print a table with a line per model and replica, then why those that do not serve do not."""
    if not models:
        print("no model is loaded; load one with `enginix load NAME`")
        return
    now = time.time()
    models = [each for model in models for each in [model, *replicas_of(model)]]
    print_table(Console(highlight=False), COLUMNS, (row(model, now) for model in models))
    for model in models:
        if model["status"] in ("loading", "error") or not model.get("in_rotation", True):
            why = model.get("progress") or model.get("last_error") or model.get("reason")
            print(f"{model['id']}: {why or 'no output yet'}")


def show_configuration(configuration: dict[str, Any] | None) -> None:
    """Print whether the files that a supervisor was started with are in force, if not."""
    if configuration is None:
        return
    if configuration["error"]:
        print(f"not in force: {configuration['error']}")
    if configuration["changing"]:
        print(configuration["changing"])
    for name, why in configuration["failed"].items():
        print(f"{name} is not as the file has it: {why}")


def replicas_of(model: dict[str, Any]) -> list[dict[str, Any]]:
    """As models, under their addresses; without a supervisor only the gateway's view is known."""
    return [
        {
            "id": f"  {one['address']}",
            "kind": "",
            "status": "loaded" if one.get("in_rotation") else "error",
            **one,
            "last_error": one.get("reason") or one.get("last_error"),
        }
        for one in model.get("replicas", [])
    ]


def row(model: dict[str, Any], now: float) -> list[str]:
    since = model.get("since")
    # The supervisor alone knows nothing of requests.
    token = model.get("last_token_seconds", "")
    return [
        model["id"],
        model["kind"],
        model["status"],
        "" if since is None else duration(now - since),
        str(model.get("pid") or ""),
        str(model.get("running", "")),
        str(model.get("queued", "")),
        token if token == "" else "never" if token is None else f"{duration(token)} ago",
        str(model.get("restarts", "")),
    ]


def duration(seconds: float) -> str:
    """In a unit that keeps two digits: 90 s, 45 min, 3 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
