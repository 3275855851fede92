"""Starts `enginix up demo-multi` on free ports, in a directory of its own, and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enginix.cli import environment
from enginix.process import descendants
from enginix.runtimes.find import find_triton_cpu

RUNTIME = "triton-cpu"
TEMPORARY = "tmp"
RESTARTED = "enginix.serve.restart: "
START_SECONDS = 300.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Profile:
    url: str
    pids: tuple[int, ...]
    """The supervisor, or whoever else is to be watched with all that descends from it."""
    home: Path | None = None
    log: Path | None = None
    grpc: str = ""
    """Triton's address."""

    def processes(self) -> list[int]:
        return [each for pid in self.pids for each in (pid, *descendants(pid))]

    def says(self, words: str) -> int:
        """How many lines of the supervisor's log hold `words`."""
        if self.log is None:
            return 0
        return sum(words in line for line in self.log.read_text(errors="replace").splitlines())

    def crashes(self) -> str:
        """What the supervisor's log says from the first server that it started again."""
        if self.log is None:
            return ""
        text = self.log.read_text(errors="replace")
        at = text.find(RESTARTED)
        return "" if at < 0 else text[text.rfind("\n", 0, at) + 1 :]


@contextmanager
def running(home: Path, options: Sequence[str] = ()) -> Iterator[Profile]:
    """The profile, serving; both engines are built in `home` first where they are not there."""
    runtime = find_triton_cpu(environment.cache_home(), environment.runtime_override(RUNTIME))
    port, *others = free_ports(5)
    names = ("--http-port", "--grpc-port", "--metrics-port", "--set=demo-llama.http_port")
    ports = [f"{name}={number}" for name, number in zip(names, others, strict=True)]
    command = [sys.executable, "-m", "enginix", "up", "demo-multi", f"--port={port}", *ports]
    command += ["--set=demo.options.threads=1", "--set=demo-llama.options.threads=1", *options]
    env = {**os.environ, "ENGINIX_HOME": str(home)}
    env["ENGINIX_RUNTIME_TRITON_CPU"] = str(runtime.root)
    # What is left behind there can only be this profile's.
    env["TMPDIR"] = str(home / TEMPORARY)
    (home / TEMPORARY).mkdir(parents=True, exist_ok=True)
    # Whoever ends this program ends the profile with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    home.mkdir(parents=True, exist_ok=True)
    log = home / "up.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=env
        )
    try:
        wait_for(log, child, "Ctrl-C stops everything")
        yield Profile(f"http://127.0.0.1:{port}", (child.pid,), home, log, f"127.0.0.1:{others[1]}")
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(log: Path, child: subprocess.Popen[bytes], words: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while words not in (text := log.read_text(errors="replace")):
        if child.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the profile does not serve; its last words:\n{text[-2000:]}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
