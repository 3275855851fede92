"""Triton's command line, as a pure function of where things are and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`exit_timeout` is the seconds running requests get to finish on SIGTERM."""

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    exit_timeout: int = 10
    log_verbose: int = 0

    @property
    def ready_url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.http_port}/v2/health/ready"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a Triton is; directories that are None are where this Triton expects them itself."""

    program: Path
    backends: Path | None = None
    caches: Path | None = None


def tritonserver_command(
    installation: Installation,
    repository: Path,
    options: ServerOptions,
    *,
    shm_prefix: str,
    only: Sequence[str] = (),
) -> list[str]:
    """`only` names the models to load; all of the repository's when it is empty."""
    command = [
        str(installation.program),
        f"--model-repository={repository}",
        f"--http-address={options.host}",
        f"--http-port={options.http_port}",
        f"--grpc-address={options.host}",
        f"--grpc-port={options.grpc_port}",
        f"--metrics-address={options.host}",
        f"--metrics-port={options.metrics_port}",
        f"--exit-timeout-secs={options.exit_timeout}",
        # Explicit control: a wedged model can be unloaded and loaded again without a restart.
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in only or ["*"]),
        # Rendered configurations are complete; Triton's guesses would hide a mistake in them.
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
    ]
    if installation.backends:
        command.append(f"--backend-directory={installation.backends}")
    if installation.caches:
        # Only the CPU's Triton brings a cache directory, and it has no GPU to measure.
        command += [f"--cache-directory={installation.caches}", "--allow-gpu-metrics=false"]
    if options.log_verbose:
        command.append(f"--log-verbose={options.log_verbose}")
    return command
