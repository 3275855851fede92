"""Whatever is killed, the server leaves nothing: no process, no directory, no shared memory."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from enginix.manifest import read_manifest, write_manifest
from enginix.process import descendants
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import TokenRequest, TritonClient
from enginix.triton.server.launch import READY_POLL
from enginix.triton.server.scratch_dir import new_scratch_dir
from tests.conftest import RunningTriton, free_ports, running_triton

pytestmark = pytest.mark.triton

STUB = "triton_python_backend_stub"


def left_by(name: str) -> list[Path]:
    """The server's files with that prefix."""
    places = (Path("/dev/shm"), Path(tempfile.gettempdir()))
    return [path for place in places for path in place.glob(f"{name}*")]


def name_of(command: int) -> str:
    """The prefix of a running server's files, which is the name of the lock it holds."""
    held = [os.path.basename(os.readlink(fd)) for fd in Path(f"/proc/{command}/fd").iterdir()]
    (name,) = {word.removesuffix("lock") for word in held if word.startswith("enginix-triton-")}
    return name


def named(pids: list[int], name: str) -> list[int]:
    """The processes that run the program `name`, of which the kernel keeps 15 letters."""
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]]


def wait_until_gone(pids: list[int], patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor):
            left = max(deadline - time.monotonic(), 0)
            assert select.select([descriptor], [], [], left)[0], f"{pid} is still there"


def serve(engine: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`enginix triton`, run until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "enginix", "triton", str(engine), "--threads=1", *options],
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=60,
    )


def ports() -> list[str]:
    http, grpc, metrics = free_ports(3)
    return [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]


def never_loaded(engine: Path, directory: Path) -> Path:
    """An engine whose preprocessing waits for the writer of its tokenizer, who never comes."""
    copy = directory / "engine"
    shutil.copytree(engine, copy)
    (copy / "tokenizer.json").unlink()
    os.mkfifo(copy / "tokenizer.json")
    manifest = read_manifest(copy)
    write_manifest(copy, replace(manifest, files=manifest.files | {"tokenizer.json": 0}))
    return copy


def test_a_killed_server_ends_the_command_and_its_stubs(
    demo_engine: Path, runtime: Runtime
) -> None:
    with running_triton(demo_engine) as server:
        files = name_of(server.pid)
        family = descendants(server.pid)
        (tritonserver,) = named(family, "tritonserver")
        os.kill(tritonserver, signal.SIGKILL)
        wait_until_gone([server.pid, *family])
    assert not left_by(files)


@asynccontextmanager
async def answering(server: RunningTriton) -> AsyncIterator[None]:
    """Keep the server busy with a long answer."""
    client = TritonClient(server.grpc)
    async with aclosing(client.generate(TokenRequest([2013, 1123, 198], 4000))) as answer:
        await anext(answer)
        yield
    await client.close()


async def test_a_killed_command_ends_its_busy_server_at_once(
    demo_engine: Path, runtime: Runtime
) -> None:
    with running_triton(demo_engine, exit_timeout=10) as server:
        files = name_of(server.pid)
        async with answering(server):
            family = descendants(server.pid)
            os.kill(server.pid, signal.SIGKILL)
            wait_until_gone(family, patience=2)
    assert left_by(files)
    with running_triton(demo_engine):
        assert not left_by(files)


async def test_models_end_with_a_killed_server_whose_command_is_gone(
    demo_engine: Path, runtime: Runtime
) -> None:
    with running_triton(demo_engine) as server:
        files = name_of(server.pid)
        async with answering(server):
            family = descendants(server.pid)
            assert len(named(family, STUB)) == 3
            for pid in (server.pid, *named(family, "tritonserver")):
                os.kill(pid, signal.SIGKILL)
            wait_until_gone(family, patience=2)
    shared = [path.name for path in left_by(files) if path.parent == Path("/dev/shm")]
    # From the free lock the next start knows that the remaining files are unused.
    assert shared == [f"{files}lock"]


def test_a_killed_stub_does_not_keep_the_server_from_ending(
    demo_engine: Path, runtime: Runtime
) -> None:
    with running_triton(demo_engine) as server:
        files = name_of(server.pid)
        family = descendants(server.pid)
        for stub in named(family, STUB):
            os.kill(stub, signal.SIGKILL)
    wait_until_gone(family)
    assert not left_by(files)


async def test_an_endless_answer_does_not_keep_the_server_from_ending(
    demo_engine: Path, runtime: Runtime
) -> None:
    with running_triton(demo_engine) as server:
        files = name_of(server.pid)
        async with answering(server):
            family = descendants(server.pid)
            os.kill(server.pid, signal.SIGTERM)
            wait_until_gone([server.pid, *family])
    assert not left_by(files)


def test_a_port_in_use_is_reported_with_its_holder(demo_engine: Path, runtime: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = serve(demo_engine, f"--http-port={port}")
    assert done.returncode == 1
    assert f"port {port} is taken by" in done.stderr
    assert f"(pid {os.getpid()}); stop that, or choose another with --http-port" in done.stderr


def test_a_model_that_never_loads_fails_at_the_deadline(
    demo_engine: Path, runtime: Runtime, tmp_path: Path
) -> None:
    engine = never_loaded(demo_engine, tmp_path)
    done = serve(engine, "--start-timeout=3", *ports())
    assert done.returncode == 1
    assert "was not ready within 3 s and was killed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_is_killed_while_its_server_starts_leaves_its_directories_to_the_next(
    demo_engine: Path, runtime: Runtime, tmp_path: Path
) -> None:
    engine = never_loaded(demo_engine, tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "enginix", "triton", str(engine), "--threads=1", *ports()],
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as command:
        deadline = time.monotonic() + 60
        while not (links := list(temporary.glob("enginix-triton-*-python_env_*"))):
            assert time.monotonic() < deadline, "no directory of the Python backend was claimed"
            with suppress(subprocess.TimeoutExpired):
                command.wait(READY_POLL)
        family = descendants(command.pid)
        command.kill()
    wait_until_gone(family)
    made = links[0].readlink()
    with new_scratch_dir(temporary):
        assert not made.exists()


def test_a_stub_that_cannot_run_is_explained_before_the_start(
    demo_engine: Path, runtime: Runtime, tmp_path: Path
) -> None:
    broken = tmp_path / "runtime"
    shutil.copytree(runtime.root, broken, symlinks=True, copy_function=os.link)
    for stub in broken.rglob(STUB):
        if not stub.is_symlink():
            stub.unlink()
            stub.write_text("not a program")
            stub.chmod(0o755)
    done = serve(demo_engine, *ports(), ENGINIX_RUNTIME_TRITON_CPU=str(broken))
    assert done.returncode == 1
    assert f"{STUB} cannot run on this machine" in done.stderr
    assert "Traceback" not in done.stderr
