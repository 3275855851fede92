"""A Triton and a gateway on each host, which can be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from tempfile import TemporaryDirectory

from enginix.process import descendants
from tests.bed.hosts import Host, hosts
from tests.conftest import Log

GATEWAY_SERVES = "Application startup complete"


class Program:
    """`enginix WORDS` on a host, or on this machine itself."""

    def __init__(
        self, words: Sequence[str], serves: str, host: Host | None, home: Path | None = None
    ) -> None:
        self._words = [sys.executable, "-m", "enginix", *words]
        self._serves = serves
        """What its log says once it does."""
        self._host = host
        # Where a gateway is listed: not among those of the user who runs the tests.
        self._environment = {"ENGINIX_HOME": str(home)} if home else {}
        self._process: subprocess.Popen[str] | None = None
        self._log: Log | None = None

    def launch(self) -> None:
        """`wait_until_it_serves` is for later: several start at the same time."""
        command = self._host.command(self._words) if self._host else self._words
        self._process = subprocess.Popen(
            command,
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **self._environment},
        )
        self._log = Log(self._process)

    def wait_until_it_serves(self) -> None:
        assert self._log is not None
        assert self._log.says(self._serves), self._log.text()

    def start_again(self) -> None:
        """Once it has ended, which it must be about to do."""
        self.wait()
        self.launch()
        self.wait_until_it_serves()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self.wait()

    def wait(self) -> None:
        assert self._process is not None
        assert self._log is not None
        self._process.wait(60)
        self._log.close()
        self._process = None

    def pids(self) -> list[int]:
        """Of the command and all that it has started."""
        assert self._process is not None
        return [self._process.pid, *descendants(self._process.pid)]

    def send(self, number: signal.Signals, name: str | None = None) -> None:
        """A signal to the command, or to the process it has started that has this name."""
        command, *started = self.pids()
        if name is not None:
            (command,) = (pid for pid in started if _name(pid) == name)
        os.kill(command, number)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@dataclass(frozen=True)
class Node:
    """A host that serves the model."""

    host: Host
    triton: Program
    gateway: Program

    @property
    def grpc(self) -> str:
        return f"{self.host.address}:8001"

    @property
    def http(self) -> str:
        return f"{self.host.address}:9000"

    @property
    def metrics(self) -> str:
        """Triton's own."""
        return f"http://{self.host.address}:8002"

    def pids(self) -> list[int]:
        return [*self.triton.pids(), *self.gateway.pids()]


@contextmanager
def nodes(engine: Path, count: int) -> Iterator[list[Node]]:
    """Hosts that serve the engine, all at the ports that are the default."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        made = [_node(engine, home, host) for host in stack.enter_context(hosts(count))]
        programs = [program for node in made for program in (node.triton, node.gateway)]
        for program in programs:
            stack.callback(program.stop)
            program.launch()
        for program in programs:
            program.wait_until_it_serves()
        yield made


def _node(engine: Path, home: Path, host: Host) -> Node:
    everywhere = (str(engine), "--host=0.0.0.0")
    triton = ("triton", *everywhere, "--threads=1", "--exit-timeout=1")
    gateway = ("openai", *everywhere, "--no-access-log")
    return Node(
        host,
        Program(triton, "Triton serves", host),
        Program(gateway, GATEWAY_SERVES, host, home / host.name),
    )


@contextmanager
def gateway_of(engine: Path, made: Sequence[Node], port: int) -> Iterator[Program]:
    """A gateway on this machine that spreads over the Tritons of all hosts."""
    with TemporaryDirectory() as home:
        triton = ",".join(node.grpc for node in made)
        words = ("openai", str(engine), f"--triton={triton}", f"--port={port}", "--no-access-log")
        program = Program(words, GATEWAY_SERVES, None, Path(home))
        program.launch()
        try:
            program.wait_until_it_serves()
            yield program
        finally:
            program.stop()
