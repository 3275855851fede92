"""`nix run` of the demo's servers: a real Triton, a real gateway, and a chat through both."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from nix.on_this_machine import ROOT, Nix

pytestmark = pytest.mark.nix

# Nobody waits for it: it ends a server that will never be ready.
PATIENCE = 240.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(nix: Nix, app: str, *arguments: str, until: str) -> Iterator[None]:
    """`nix run` of an app, once it has printed `until`; its process group is gone afterwards."""
    nix.build(app)
    command = [nix.program, "run", f".#{app}", *nix.flake_options, "--", *arguments]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=nix.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(PATIENCE, os.killpg, (server.pid, signal.SIGKILL))
    watchdog.start()
    try:
        said = wait_for(server, until)
        yield
        assert server.poll() is None, said
    finally:
        server.send_signal(signal.SIGTERM)
        # Reads what it says while it leaves: a full pipe would hold it up.
        server.communicate()
        watchdog.cancel()


def wait_for(server: subprocess.Popen[str], until: str) -> str:
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        if until in line:
            return "".join(said)
    pytest.fail(f"it never said {until!r}, but:\n{''.join(said)}")


def chat(port: int, question: str, model: str = "demo") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0}
    request = Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=PATIENCE) as answer:
        content: str = json.load(answer)["choices"][0]["message"]["content"]
    return content


def test_a_chat_goes_through_the_gateway_and_triton_that_nix_runs(nix: Nix) -> None:
    http, grpc, metrics, gateway = (str(free_port()) for _ in range(4))
    ports = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    with (
        running(nix, "tritonserver-demo", *ports, until="Triton serves demo"),
        running(
            nix,
            "openai-demo",
            f"--port={gateway}",
            f"--triton=127.0.0.1:{grpc}",
            until="The OpenAI API is at",
        ),
    ):
        assert "Paris" in chat(int(gateway), "What is the capital of France?")
    apps = nix.build("tritonserver-demo", "openai-demo")
    # Root may write anywhere: a cache that Python leaves in the store would change what is there.
    nix.run("store", "verify", "--recursive", "--no-trust", *apps)


def test_the_demo_is_one_command_from_engine_to_answer(nix: Nix) -> None:
    names = ("http-port", "grpc-port", "metrics-port", "port")
    ports = {name: free_port() for name in names}
    flags = [f"--{name}={port}" for name, port in ports.items()]
    with running(nix, "demo", *flags, until="Ctrl-C stops everything"):
        assert "Paris" in chat(ports["port"], "What is the capital of France?")


def test_two_models_are_one_command_and_each_has_its_engine(nix: Nix) -> None:
    names = ("http-port", "grpc-port", "metrics-port", "port")
    ports = {name: free_port() for name in names}
    flags = [f"--{name}={port}" for name, port in ports.items()]
    flags.append(f"--set=demo-llama.http_port={free_port()}")
    with running(nix, "demo-multi", *flags, until="Ctrl-C stops everything"):
        said = {name: chat(ports["port"], "Who are you?", name) for name in ("demo", "demo-llama")}
    assert "tiny NVFP4 test model" in said["demo"]
    assert "tiny Llama" in said["demo-llama"]


def test_a_server_that_cannot_start_says_so_in_one_line(nix: Nix) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = nix.run(
            "run", ".#tritonserver-demo", *nix.flake_options, "--", f"--http-port={port}",
            check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_development_shell_has_the_command_and_the_tests_tools(nix: Nix) -> None:
    shell = ["develop", *nix.flake_options, "-c"]
    assert "demo" in nix.run(*shell, "enginix", "models").stdout
    nix.run(*shell, "python", "-c", "import fastapi, hypothesis, pytest")
