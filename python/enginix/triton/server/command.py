"""Builds Triton's command line: a pure function of paths and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.ports import bracketed, local_url


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`exit_timeout` is how many seconds running requests get to finish after SIGTERM.

    `traces`: the URL that takes spans by OTLP over HTTP; without it nothing is traced.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    exit_timeout: int = 10
    log_verbose: int = 0
    traces: str = ""

    @property
    def ready_url(self) -> str:
        return f"{local_url(self.host, self.http_port)}/v2/health/ready"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a Triton is installed; it finds directories that are None by itself."""

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
    """`only` names the models to load; empty loads all of the repository's."""
    command = [
        str(installation.program),
        f"--model-repository={repository}",
        f"--http-address={_evhtp(options.host)}",
        f"--http-port={options.http_port}",
        f"--grpc-address={bracketed(options.host)}",
        f"--grpc-port={options.grpc_port}",
        f"--metrics-address={_evhtp(options.host)}",
        f"--metrics-port={options.metrics_port}",
        f"--exit-timeout-secs={options.exit_timeout}",
        # Explicit control lets us unload and reload a wedged model without a restart.
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in only or ["*"]),
        # The rendered configurations are complete; auto-completion would hide mistakes in them.
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
    ]
    if installation.backends:
        command.append(f"--backend-directory={installation.backends}")
    if installation.caches:
        # Only the CPU build of Triton has a cache directory, and there is no GPU to measure.
        command += [f"--cache-directory={installation.caches}", "--allow-gpu-metrics=false"]
    if options.log_verbose:
        command.append(f"--log-verbose={options.log_verbose}")
    if options.traces:
        # Of those requests whose metadata names a span: the gateway samples.
        settings = ("mode=opentelemetry", f"opentelemetry,url={options.traces}")
        for setting in (*settings, "level=TIMESTAMPS", "rate=0"):
            command += ["--trace-config", setting]
    return command


def _evhtp(host: str) -> str:
    """A host as Triton's HTTP library reads it: it takes any other for an IPv4 address."""
    return f"ipv6:{host}" if ":" in host else host
