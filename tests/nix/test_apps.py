"""`nix run` of the demo's servers: a real Triton, a real gateway, and a chat through both."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from nix.on_this_machine import Nix
from nix.servers import chat, free_port

from nix import servers

pytestmark = pytest.mark.nix


@contextmanager
def running(nix: Nix, app: str, *arguments: str, until: str) -> Iterator[None]:
    """`nix run` of an app, once it has printed `until`."""
    nix.build(app)
    command = [nix.program, "run", f".#{app}", *nix.flake_options, "--", *arguments]
    with servers.running(command, nix.env, until=until):
        yield


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
