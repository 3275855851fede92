"""Runs `enginix triton` on a tensorrt-llm engine: real Open MPI, made-up GPUs and tritonserver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

from tests.conftest import Log, free_ports, logged_program
from tests.triton.engines import write_engine

TESTS = Path(__file__).parents[1]
FAKE = TESTS / "fakes" / "tritonserver.py"
TOPOLOGY = TESTS / "recordings" / "topology"

NVIDIA_SMI = """#!/bin/sh
case $1 in
--query-gpu=*) cat {gpus} ;;
topo) cat {topology} ;;
esac
"""
GPU = "{}, GPU-{}000, NVIDIA RTX PRO 6000 Blackwell, {}, 97887, 97000, 580.65.06\n"


@dataclass
class Machine:
    """A made-up machine in one directory: GPUs, NVIDIA's programs and an engine."""

    place: Path
    ranks: int
    gpus: int = 4
    capability: str = "12.0"
    tensorrt_llm: str = "1.2.1"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = self.place / "engine"
        self.reports = self.place / "reports"
        self.reports.mkdir(parents=True)
        write_engine(self.engine, self.ranks)
        gpus = "".join(GPU.format(i, i, self.capability) for i in range(self.gpus))
        self._write("gpus.txt", gpus)
        smi = NVIDIA_SMI.format(
            gpus=self.place / "gpus.txt", topology=TOPOLOGY / "pcie-two-sockets.txt"
        )
        self._program("smi/nvidia-smi", smi)
        self._program("runtime/bin/tritonserver", f"#!{sys.executable}\n{FAKE.read_text()}")
        self._program("runtime/bin/python", f"#!/bin/sh\necho {self.tensorrt_llm}\n")
        for pipe in ("load", "answer"):
            os.mkfifo(self.reports / pipe)

    def behave(self, rank: int, how: str) -> None:
        (self.reports / f"behaviour{rank}").write_text(how)

    def release(self, pipe: str) -> None:
        """Release the ranks that wait for it."""
        (self.reports / pipe).write_text("go on")

    def report(self, rank: int) -> dict[str, Any]:
        """What the rank was started with; see tests/fakes/tritonserver.py."""
        return dict(json.loads((self.reports / f"rank{rank}.json").read_text()))

    def was_started(self) -> bool:
        return any(self.reports.glob("rank*.json"))

    def command(self, *options: str) -> list[str]:
        http, grpc, metrics = free_ports(3)
        return [
            *(sys.executable, "-m", "enginix", "triton", str(self.engine)),
            *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
            *options,
        ]

    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "ENGINIX_RUNTIME_TENSORRT_LLM": str(self.place / "runtime"),
            "FAKE_TRITON": str(self.reports),
            "PATH": f"{self.place / 'smi'}:{os.environ['PATH']}",
            **self.environment,
        }

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Wait until it ends by itself."""
        return subprocess.run(
            self.command(*options),
            env=self.variables(),
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            timeout=120,
        )

    @contextmanager
    def started(self, *options: str) -> Iterator[Running]:
        command = self.command(*options)
        port = command[5].removeprefix("--http-port=")
        with logged_program(command, env=self.variables()) as (child, log):
            yield Running(child, log, f"http://127.0.0.1:{port}")

    def _program(self, name: str, text: str) -> None:
        self._write(name, text)
        (self.place / name).chmod(0o755)

    def _write(self, name: str, text: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@dataclass
class Running:
    process: subprocess.Popen[str]
    log: Log
    url: str
