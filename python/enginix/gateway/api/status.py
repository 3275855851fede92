"""/v1/status: every model with its health, its load and its engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from enginix import __version__
from enginix.gateway.api.models import entry
from enginix.gateway.http.scope import gateway_of, models_of, record_of
from enginix.gateway.keys.key_file import KeyFile
from enginix.gateway.models.health import Health
from enginix.gateway.models.model_state import ModelState
from enginix.gateway.models.peers import Report, traffic_of
from enginix.gateway.models.server_metrics import acceptance
from enginix.generation.backend import Replica
from enginix.manifest import Manifest
from enginix.supervision import Availability, Configuration, ServerStatus, replica_key

router = APIRouter(tags=["Operation"])


@router.get("/v1/status")
async def show_status(request: Request) -> dict[str, Any]:
    """Every model with its health, its load and its engine."""
    gateway = gateway_of(request)
    known, reports = await asyncio.gather(gateway.servers.statuses(), gateway.peers.reports())
    # A model may come or go while another is probed.
    states = [gateway.states[model.name] for model in models_of(request)]
    return {
        "version": __version__,
        "supervised": gateway.settings.supervisor is not None,
        "uptime_seconds": round(time.time() - gateway.started, 1),
        "stopping": gateway.leaving,
        "configuration": _shown(request, known.configuration or gateway.configuration),
        "models": [
            await status_of(state, known.servers.get(state.model.served_by), reports)
            for state in states
        ],
    }


def _shown(request: Request, configuration: Configuration | None) -> dict[str, Any] | None:
    """With what is wrong with the keys; None for a key that may use some models only."""
    key = record_of(request).key
    if key and key.models:
        # It names other models.
        return None
    keys: KeyFile | None = request.app.state.key_file
    if keys and keys.error and not (configuration and configuration.error):
        configuration = configuration or Configuration([], True, gateway_of(request).started)
        configuration = replace(configuration, error=keys.error)
    return asdict(configuration) if configuration else None


async def status_of(
    state: ModelState, server: ServerStatus | None = None, reports: Sequence[Report] = ()
) -> dict[str, Any]:
    """`server`: what the supervisor knows of the model's process. `reports`: of all workers."""
    traffic = traffic_of(reports, state.model.name) if reports else state.traffic
    health = await health_of(state)
    status = {
        **entry(state.model),
        "state": "loaded" if health.ok else "error",
        "healthy": health.ok,
        "reason": health.reason,
        "presence": state.presence,
        "running": traffic.running,
        "waiting": traffic.waiting,
        "queued": traffic.waiting,
        "last_token_seconds": state.liveness.seconds_since_token(),
        "tokens_per_second": round(traffic.tokens_per_second, 1),
        "first_token_seconds": traffic.first_token_seconds,
        "status": "loaded" if health.ok else "error",
    }
    if server is not None:
        generates = status["status"]
        status |= asdict(server)
        if server.status == "external":
            # Only gateways know what it does.
            status["status"] = generates
        status["state"] = status["status"]
        if server.status == "loaded":
            status["uptime_seconds"] = round(time.time() - server.since, 1)
    processes = server.replicas if server else {}
    status["replicas"] = [
        replica_row(state, replica, reports) | _process(processes.get(replica.address))
        for replica in state.model.backend.replicas
    ]
    if drafts := await _acceptance(state):
        status["speculative"] = drafts
    return status | _of_manifest(state.model.manifest)


async def _acceptance(state: ModelState) -> dict[str, float | None] | None:
    # The address of a model that is not loaded may be another's.
    if state.server_metrics is None or state.presence != Availability.OPEN:
        return None
    return acceptance(await state.server_metrics.samples())


def _of_manifest(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    return {
        "context": manifest.limits.max_seq_len,
        "architecture": manifest.architecture,
        "limits": {
            "max_batch_size": manifest.limits.max_batch_size,
            "max_seq_len": manifest.limits.max_seq_len,
        },
        "weights_bytes": manifest.weights_bytes,
        "ranks": manifest.parallelism.world_size,
        "built_for_gpu": manifest.built_with.gpu_name,
        "accuracy": asdict(manifest.accuracy) if manifest.accuracy else None,
    }


def replica_row(state: ModelState, replica: Replica, reports: Sequence[Report]) -> dict[str, Any]:
    """One of the servers of a model that has several."""
    traffic = traffic_of(reports, replica_key(state.model.name, replica.address))
    return {
        "address": replica.address,
        "in_rotation": replica.out is None and not replica.resting,
        "reason": replica.out or ("it is about to be restarted" if replica.resting else None),
        "running": traffic.running if reports else replica.running,
    }


def _process(server: ServerStatus | None) -> dict[str, Any]:
    """What the supervisor knows of one of several servers."""
    fields = asdict(server) if server else {}
    fields.pop("replicas", None)
    return fields


async def health_of(state: ModelState) -> Health:
    """Probe only models that accept requests."""
    if state.presence == Availability.OPEN:
        return await state.liveness.health()
    return Health(True, state.reason or "it is loaded when it is asked for")
