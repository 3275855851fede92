"""Stands in for tritonserver under the real Open MPI: one rank of a TensorRT-LLM engine.

Refuses a command line that the real one would not run with, creates what the real one leaves when
it is killed (a stub process, shared memory) and, on rank 0, answers HTTP once every rank has
loaded. $FAKE_TRITON is a directory: rank N writes what it was started with to rankN.json, and a
file behaviourN there makes it `fail`, `hang` (ignores SIGTERM, too), or wait for somebody to write
into the pipe `load`. GET /slow answers when somebody writes into the pipe `answer`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PLACE = Path(os.environ["FAKE_TRITON"])
RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", 0))
RANKS = int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))


def options(argv: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in argv:
        name, _, value = word.removeprefix("--").partition("=")
        found.setdefault(name, []).append(value)
    return found


def check(given: dict[str, list[str]]) -> None:
    for port in ("http-port", "grpc-port", "metrics-port"):
        require(len(given.get(port, [])) == 1, f"--{port} given {len(given.get(port, []))} times")
    loaded = given["load-model"]
    require(loaded == (["tensorrt_llm"] if RANK else ["*"]), f"rank {RANK} loads {loaded}")
    repository = Path(given["model-repository"][0])
    require((repository / "tensorrt_llm" / "config.pbtxt").is_file(), "no model repository")
    prefix = shm_prefix(given)
    require(RANKS == 1 or prefix.endswith(f"{RANK}_"), f"shared memory prefix {prefix}")


def require(truth: bool, message: str) -> None:
    if not truth:
        sys.exit(f"E rank {RANK}: {message}")


def shm_prefix(given: dict[str, list[str]]) -> str:
    return given["backend-config"][0].removeprefix("python,shm-region-prefix-name=")


def leave_traces(given: dict[str, list[str]]) -> subprocess.Popen[bytes]:
    Path("/dev/shm", f"{shm_prefix(given)}region").touch()
    # Like the real stubs it has its own session, and ends by itself when the server is killed.
    stub = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    return subprocess.Popen(
        stub, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )


def behave(how: str) -> None:
    if how == "fail":
        print("E no CUDA device is free", file=sys.stderr, flush=True)
        sys.exit(3)
    if how == "hang":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        print("I waiting for a rank that never comes", flush=True)
        signal.pause()
    if how == "wait":
        print("I loading slowly", flush=True)
        (PLACE / "load").read_text()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            print("I answering slowly", flush=True)
            (PLACE / "answer").read_text()
            self.answer(200)
        else:
            ready = all((PLACE / f"loaded{rank}").exists() for rank in range(RANKS))
            self.answer(200 if ready else 400)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    # Running requests finish before the end.
    daemon_threads = False


def main() -> None:
    given = options(sys.argv[1:])
    check(given)
    stub = leave_traces(given)
    started = {"options": given, "environment": dict(os.environ), "pid": os.getpid()}
    (PLACE / f"rank{RANK}.json").write_text(json.dumps(started))
    print(f"I rank {RANK} starts", flush=True)
    behaviour = PLACE / f"behaviour{RANK}"
    if behaviour.exists():
        behave(behaviour.read_text())
    (PLACE / f"loaded{RANK}").touch()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    server = Server(("127.0.0.1", int(given["http-port"][0])), Handler) if RANK == 0 else None
    if server:
        threading.Thread(target=server.serve_forever).start()
    ending.wait()
    print("I draining", flush=True)
    if server:
        server.shutdown()
        server.server_close()
    stub.kill()


if __name__ == "__main__":
    main()
