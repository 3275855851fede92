"""Servers as subprocesses, until they say that they are ready, and a chat with a gateway."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from nix.on_this_machine import ROOT

# No test waits this long: it ends a server that will never be ready.
PATIENCE = 240.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str], *, until: str) -> Iterator[None]:
    """`command`, once it has printed `until`; its process group is gone afterwards."""
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
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
