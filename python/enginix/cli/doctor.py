"""`enginix doctor`: checks the machine, the software and an engine, and says what to fix."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from enginix.catalog.load import Ports
from enginix.cli import environment
from enginix.cli.find_engine import find_directory
from enginix.cli.views.console import Console
from enginix.doctor.edge_llm import look_at_edge_llm
from enginix.doctor.finding import Finding, Level
from enginix.doctor.gpu import look_at_gpus
from enginix.doctor.machine import (
    look_at_disk,
    look_at_libraries,
    look_at_memlock,
    look_at_ports,
    look_at_shared_memory,
)
from enginix.doctor.software import (
    look_at_engine,
    look_at_nix,
    look_at_tensorrt_llm,
    look_at_tensorrt_llm_version,
    look_at_token,
    look_at_triton_cpu,
)
from enginix.errors import RuntimeMissing
from enginix.prerequisites import python_version, supported_pythons, this_distribution
from enginix.runtimes.find import find_triton_cpu
from enginix.runtimes.runtime import TRITON_CPU
from enginix.triton.server.compatibility import Machine
from enginix.triton.server.gpus import query_gpus, visible_gpus
from enginix.triton.server.installation import runtime_version

MARKS = {Level.GREEN: "✓", Level.YELLOW: "!", Level.RED: "✗"}
# For terminals whose encoding lacks the marks.
ASCII = str.maketrans("✓✗→", "+x>")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "engine", nargs="?", type=find_directory, metavar="DIR|NAME", help="an engine to check, too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.epilog = "Exits with 1 if anything is red, else with 0."


def run(args: argparse.Namespace) -> int:
    findings = _check(args.engine)
    if args.json:
        rows = [asdict(finding) | {"level": finding.level.value} for finding in findings]
        print(json.dumps(rows, indent=2))
    else:
        _show(findings)
    return int(any(finding.level is Level.RED for finding in findings))


def _check(engine: Path | None) -> list[Finding]:
    variables = environment.everything()
    ports = Ports()
    version = runtime_version(
        environment.runtime_override("tensorrt-llm"), variables.get("PATH", "")
    )
    gpus = visible_gpus(query_gpus(), variables.get("CUDA_VISIBLE_DEVICES"))
    findings = [
        *look_at_gpus(variables),
        *look_at_tensorrt_llm(Path("/")),
        *look_at_tensorrt_llm_version(version),
        *look_at_edge_llm(gpus, platform.machine()),
        *look_at_triton_cpu(_triton_cpu()),
        *look_at_nix(_user()),
        *look_at_ports([ports.http, ports.grpc, ports.metrics, ports.gateway]),
        *look_at_disk(environment.cache_home(), [Path("/nix/store")]),
        *look_at_shared_memory(),
        *_libraries(),
        *look_at_memlock(),
        *look_at_token(environment.hub_token()),
    ]
    if engine is not None:
        findings += look_at_engine(engine, Machine(gpus, version))
    return findings


def _user() -> str:
    """Their name, or their number where only a container knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _libraries() -> list[Finding]:
    """The runtime's system libraries; none for a Python that the runtime does not support."""
    python = python_version()
    return look_at_libraries(python, this_distribution()) if python in supported_pythons() else []


def _triton_cpu() -> Path | None:
    try:
        override = environment.runtime_override(TRITON_CPU.kind)
        return find_triton_cpu(environment.cache_home(), override).root
    except RuntimeMissing:
        return None


def _show(findings: list[Finding]) -> None:
    console = Console()
    if not console.is_terminal:
        # In a file or a pipe nothing is wrapped.
        console.width = 1 << 16
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    for finding in findings:
        mark = f"[{finding.level.value}]{MARKS[finding.level]}[/]"
        fix = f"\n→ {finding.fix}" if finding.fix else ""
        cells = [mark, finding.subject, finding.found + fix]
        ascii_only = console.options.ascii_only
        table.add_row(*(cell.translate(ASCII) if ascii_only else cell for cell in cells))
    console.print(table)
