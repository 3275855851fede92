"""The real runtime, the demo engine and a real Triton: made once, used by several folders."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import hypothesis
import pytest
from fakes.token_triton import TokenTriton, free_ports, token_triton

from enginix.cli import environment
from enginix.errors import RuntimeMissing
from enginix.runtimes.find import find_triton_cpu
from enginix.runtimes.runtime import Runtime
from tests.oracle import tap

RECORDINGS = Path(__file__).parent / "recordings"

# A shell's background jobs ignore Ctrl-C, and so would every program under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

tap.listen()

# A test that is slow on a busy machine is not wrong.
hypothesis.settings.register_profile("enginix", deadline=None)
hypothesis.settings.load_profile("enginix")


@pytest.fixture(autouse=True)
def answers_have_their_shapes() -> Iterator[None]:
    """Every gateway answer that a test reads is checked against its dialect's shape."""
    tap.take_faults()
    yield
    found = tap.take_faults()
    assert not found, "answers that have not their shape:\n" + "\n".join(found[:20])


@dataclass(frozen=True)
class RunningTriton:
    """A real tritonserver that serves the demo engine."""

    http: str
    grpc: str
    metrics: str
    pid: int
    engine: Path


def contents(directory: Path) -> dict[str, bytes]:
    """Every file in it, by its path from there."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def is_running(pid: int) -> bool:
    """Whether the process exists; a zombie is only a note for a parent who does not read it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    try:
        override = environment.runtime_override("triton-cpu")
        return find_triton_cpu(environment.cache_home(), override)
    except RuntimeMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def evals() -> list[dict[str, Any]]:
    """284 conversations with their prompts and the exact greedy answers of the demo model."""
    return read_evals("demo-evals.json")


@pytest.fixture(scope="session")
def llama_evals() -> list[dict[str, Any]]:
    """The same for the second demo model: 65 conversations."""
    return read_evals("demo-llama-evals.json")


def read_evals(name: str) -> list[dict[str, Any]]:
    found = json.loads((RECORDINGS / name).read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="session")
def demo_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engines") / "demo"
    command = [sys.executable, "-m", "enginix", "engine", "build", "demo", f"--out={out}"]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def triton_server(runtime: Runtime, demo_engine: Path) -> Iterator[RunningTriton]:
    with running_triton(demo_engine) as server:
        yield server


@pytest.fixture(scope="session")
def token_server(runtime: Runtime) -> Iterator[TokenTriton]:
    """A real Triton with the token model; a test that breaks it starts its own."""
    with token_triton(runtime) as server:
        yield server


@contextmanager
def running_triton(engine: Path, *flags: str, exit_timeout: int = 1) -> Iterator[RunningTriton]:
    """A Triton for one test, which may kill it."""
    http, grpc, metrics = free_ports(3)
    command = [
        *(sys.executable, "-m", "enginix", "triton", str(engine), "--threads=1"),
        *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        *(f"--exit-timeout={exit_timeout}", *flags),
    ]
    with logged_program(command, "Triton serves") as (child, _):
        yield RunningTriton(
            http=f"http://127.0.0.1:{http}",
            grpc=f"127.0.0.1:{grpc}",
            metrics=f"http://127.0.0.1:{metrics}",
            pid=child.pid,
            engine=engine,
        )


@contextmanager
def logged_program(
    command: Sequence[str],
    line: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    ends_within: float | None = None,
) -> Iterator[tuple[subprocess.Popen[str], Log]]:
    """The program in a session of its own, once it has written `line`; it is ended by SIGTERM."""
    child = subprocess.Popen(
        command, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True, env=env
    )
    log = Log(child)
    try:
        assert line is None or log.says(line), log.text()
        yield child, log
    finally:
        child.terminate()
        child.wait(timeout=ends_within)
        log.close()


class Log:
    """A child's output, read continuously: a full pipe would block the child."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, words: str, patience: float = 120.0) -> bool:
        """Wait until a line holds `words`; False if the child ends or the time runs out first."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._has(words), patience)
            return self._has(words)

    def close(self) -> None:
        """Everything, once the child and all that it has started have ended."""
        self._reader.join(30)
        assert not self._reader.is_alive(), "a process that the child has started still runs"
        assert self._child.stdout is not None
        self._child.stdout.close()

    def text(self) -> str:
        return "".join(self._lines)

    def _has(self, words: str) -> bool:
        return any(words in line for line in self._lines)

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
