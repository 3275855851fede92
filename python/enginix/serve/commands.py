"""Command lines of a profile's servers, as pure functions: `enginix up --dry-run` prints them."""

from __future__ import annotations

from pathlib import Path

from enginix.serve.profile import GatewayEntry, ModelEntry


def triton_command(enginix: list[str], entry: ModelEntry, engine: Path) -> list[str]:
    return [
        *enginix,
        "triton",
        str(engine),
        f"--http-port={entry.http_port}",
        f"--grpc-port={entry.grpc_port}",
        f"--metrics-port={entry.metrics_port}",
    ]


def gateway_command(
    enginix: list[str], gateway: GatewayEntry, entry: ModelEntry, engine: Path
) -> list[str]:
    return [
        *enginix,
        "openai",
        str(engine),
        f"--host={gateway.host}",
        f"--port={gateway.port}",
        f"--triton=127.0.0.1:{entry.grpc_port}",
    ]
