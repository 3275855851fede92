"""Describes the measured servers and the measuring machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix import __version__
from enginix.bench.report.roofline import Memory, Roofline, memory_of, roofline
from enginix.bench.target import Target
from enginix.errors import UsageError


@dataclass(frozen=True, slots=True)
class Server:
    """One model of one server."""

    name: str
    """Its name in the report."""
    url: str
    model: str
    software: str
    details: str
    """What its status states about the model."""
    local: bool
    """Whether it runs on the measuring machine, judged by its address."""
    roofline: Roofline


@dataclass(frozen=True, slots=True)
class Hardware:
    """A server's hardware, as the user states it."""

    memory: Memory | None = None
    read_per_token: int | None = None
    """Bytes of weights."""


def server(name: str, target: Target, model: str, hardware: Hardware) -> Server:
    """`target`, as it describes itself: enginix in its status, others in the list of models."""
    status = target.facts("/v1/status")
    rows = status.get("models") or target.facts("/v1/models").get("data")
    row = _row_of(model, rows if isinstance(rows, list) else [])
    owner = str(row.get("owned_by") or "unknown software")
    version = status.get("version") or target.facts("/version").get("version")
    facts = [row.get(key) for key in ("kind", "architecture", "quantization")]
    return Server(
        name=name,
        url=target.url,
        model=model,
        software=f"{owner} {version or 'of unknown version'}",
        details=", ".join(str(fact) for fact in facts if fact) or "unknown",
        local=target.host in ("localhost", "::1") or target.host.startswith("127."),
        roofline=_roofline(row, hardware),
    )


def _row_of(model: str, rows: Sequence[Any]) -> Mapping[str, Any]:
    """The model's row, by name or alias; empty if there is none."""
    for row in rows:
        if isinstance(row, dict):
            aliases = row.get("aliases")
            if model == row.get("id") or (isinstance(aliases, list) and model in aliases):
                return row
    return {}


def _roofline(row: Mapping[str, Any], hardware: Hardware) -> Roofline:
    memory = hardware.memory
    if memory is None and (gpu := row.get("built_for_gpu")):
        try:
            memory = memory_of(f"{row.get('ranks') or 1}x {gpu}")
        except UsageError:
            return Roofline(None, f"unknown: the bandwidth of {gpu}; give it with --bandwidth GB/S")
    if hardware.read_per_token:
        return roofline(memory, hardware.read_per_token, None)
    weights = row.get("weights_bytes")
    known = weights if isinstance(weights, int) else None
    return roofline(memory, known, str(row.get("architecture")))


def client_machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} logical cores, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, enginix {__version__}; load "
        f"average {load:.1f} before the first request"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()
