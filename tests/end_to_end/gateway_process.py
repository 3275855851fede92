"""The gateway as users start it: `enginix openai` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.conftest import Log, free_ports, logged_program
from tests.oracle import tap


@dataclass(frozen=True)
class RunningGateway:
    url: str
    process: subprocess.Popen[str]
    log: Log

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


@contextmanager
def running_gateway(
    engine: Path, triton: str, *flags: str, keys: str | None = None
) -> Iterator[RunningGateway]:
    """A ready gateway, stopped with SIGTERM at the end."""
    with (
        TemporaryDirectory() as home,
        _gateway(home, str(engine), f"--triton={triton}", *flags, keys=keys) as running,
    ):
        yield running


@contextmanager
def models_gateway(models: Path, *flags: str) -> Iterator[RunningGateway]:
    """The same in front of several models, all of them Triton's."""
    with TemporaryDirectory() as home, _gateway(home, f"--models={models}", *flags) as running:
        yield running


@contextmanager
def _gateway(home: str, *arguments: str, keys: str | None = None) -> Iterator[RunningGateway]:
    (port,) = free_ports(1)
    tap.OWN_PORTS.add(port)
    command = [
        *(sys.executable, "-m", "enginix", "openai", *arguments),
        *(f"--port={port}", "--no-access-log"),
    ]
    # Where it is listed: not among the gateways of the user who runs the tests.
    environment = {**os.environ, "ENGINIX_HOME": home}
    environment |= {"ENGINIX_API_KEYS": keys} if keys else {}
    started = logged_program(
        command, "Application startup complete", env=environment, ends_within=30
    )
    try:
        with started as (child, log):
            yield RunningGateway(f"http://127.0.0.1:{port}", child, log)
    finally:
        # The next server on this port may be another's.
        tap.OWN_PORTS.discard(port)


def active_requests(triton_metrics: str) -> int:
    """How many requests the model is working on."""
    text = httpx.get(f"{triton_metrics}/metrics").text
    found = re.search(r'nv_trt_llm_request_metrics\{[^}]*"active"[^}]*\} (\d+)', text)
    assert found, text
    return int(found.group(1))
