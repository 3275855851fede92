"""The real tritonserver with the token model, for tests of clients, gateways and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from enginix.runtimes import triton_cpu
from enginix.runtimes.runtime import Runtime
from enginix.triton.server.command import Installation, ServerOptions, tritonserver_command
from enginix.triton.server.scratch_dir import new_scratch_dir

TOKEN_MODEL = Path(__file__).parent / "token_model"
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TokenTriton:
    address: str
    metrics: str
    process: subprocess.Popen[bytes]
    http: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    """Distinct free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@contextmanager
def token_triton(runtime: Runtime, grpc_port: int | None = None) -> Iterator[TokenTriton]:
    """A ready server; it and all its stubs have ended when the block ends."""
    with served_repository(runtime, TOKEN_MODEL, grpc_port) as server:
        yield server


@contextmanager
def served_repository(
    runtime: Runtime, repository: Path, grpc_port: int | None = None
) -> Iterator[TokenTriton]:
    """The same with any model repository."""
    http, grpc, metrics = free_ports(3)
    options = ServerOptions(
        http_port=http, grpc_port=grpc_port or grpc, metrics_port=metrics, exit_timeout=1
    )
    with new_scratch_dir() as place, tempfile.TemporaryFile() as log:
        triton_cpu.link_backends(runtime, place.directory / "backends")
        installation = Installation(
            triton_cpu.tritonserver(runtime),
            place.directory / "backends",
            triton_cpu.cache_directory(runtime),
        )
        command = tritonserver_command(
            installation, repository, options, shm_prefix=place.shm_prefix
        )
        environment = triton_cpu.environment(runtime, os.environ)
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_ready(process, options.ready_url, log)
            yield TokenTriton(
                f"127.0.0.1:{options.grpc_port}",
                f"http://127.0.0.1:{metrics}/metrics",
                process,
                f"http://127.0.0.1:{http}",
            )
        finally:
            # The model needs no orderly end, and the stubs are in this process group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_ready(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise AssertionError(log.read().decode()[-3000:])
        # The server logs nothing when it becomes ready.
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
