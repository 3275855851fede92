"""Open WebUI itself, from PyPI, in a browser, against the demo: `make test-openwebui`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import RunningTriton, free_ports
from tests.end_to_end.gateway_process import RunningGateway, running_gateway

OPEN_WEBUI = os.environ.get("ENGINIX_OPEN_WEBUI", "")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
STARTS_WITHIN, PATIENCE = 180.0, 240.0
pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not OPEN_WEBUI, reason="make test-openwebui installs and runs Open WebUI"),
]

# The README's two settings, and what keeps it to loopback.
NOWHERE = "http://127.0.0.1:9"
SETTINGS = {
    "OPENAI_API_KEY": "sk-dummy",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
}


@contextmanager
def open_webui(gateway: RunningGateway, directory: Path) -> Iterator[str]:
    """Its address, once it answers; its data is the directory's."""
    (port,) = free_ports(1)
    program = Path(OPEN_WEBUI) / "bin" / "open-webui"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DATA_DIR": str(directory),
        "WEBUI_SECRET_KEY": "of one test",
        "OPENAI_API_BASE_URL": gateway.base_url,
        **SETTINGS,
    }
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(
            [program, "serve", "--host=127.0.0.1", f"--port={port}"],
            env=environment,
            cwd=directory,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            assert answers(f"{url}/health", child), (directory / "log").read_text()[-3000:]
            yield url
        finally:
            child.terminate()
            child.wait()


def answers(url: str, child: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + STARTS_WITHIN
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False) as client:
        while time.monotonic() < deadline and child.poll() is None:
            try:
                return client.get(url).is_success
            except httpx.TransportError:
                continue
    return False


def becomes_idle(gateway: RunningGateway) -> bool:
    deadline = time.monotonic() + 5
    with httpx.Client(base_url=gateway.base_url, trust_env=False) as client:
        while time.monotonic() < deadline:
            (model,) = client.get("/status").json()["models"]
            if model["running"] == 0:
                return True
    return False


def test_a_person_chooses_chats_regenerates_calls_a_tool_and_stops(
    triton_server: RunningTriton, tmp_path: Path
) -> None:
    assert BROWSER, "make test-openwebui says how to install Chromium"
    driver = Path(__file__).with_name("drive.py")
    with (
        running_gateway(triton_server.engine, triton_server.grpc) as gateway,
        open_webui(gateway, tmp_path) as url,
    ):
        done = subprocess.run(
            [Path(OPEN_WEBUI) / "bin" / "python", driver, url, BROWSER, tmp_path],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        idle = becomes_idle(gateway)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\nscreenshots: {tmp_path}"
    steps = {step.pop("step"): step for step in map(json.loads, done.stdout.splitlines())}
    assert list(steps) == ["choose", "chat", "regenerate", "title", "tool", "stop"]
    assert "demo" in steps["choose"]["models"]
    assert "The capital of France is Paris." in steps["chat"]["messages"]
    assert "Thought for" in steps["chat"]["messages"]
    assert "get_weather" in steps["tool"]["messages"]
    # The page's Stop frees the slot in the model, long before an endless answer fills the context.
    assert idle
