"""Front ends that only pass requests on to a server that has the API already.

Ours, `enginix openai --models`, and those that are installed, in environments of their own because
their requirements conflict with ours: LiteLLM's proxy, and the Rust routers vllm-router and
sglang-router.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

# LiteLLM imports for many seconds.
START_SECONDS = 120.0


def find_litellm(given: Path | None) -> Path | None:
    """The program: given itself, or as the environment that holds it, or on PATH."""
    if given is None:
        found = shutil.which("litellm")
        return Path(found) if found else None
    program = given / "bin" / "litellm" if given.is_dir() else given
    if not program.is_file():
        raise SystemExit(f"{given} holds no litellm; pip install 'litellm[proxy]' there")
    return program


@contextmanager
def passing_on(upstream: str) -> Iterator[tuple[str, int]]:
    """Our gateway, with the model of the server at `upstream`: its address and process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "models.json"
        file.write_text(json.dumps({"models": [{"name": "demo", "url": upstream}]}))
        command = [sys.executable, "-m", "enginix", "openai", f"--models={file}"]
        flags = [f"--port={port}", "--no-access-log"]
        with running([*command, *flags], f"http://127.0.0.1:{port}/livez") as pid:
            yield f"http://127.0.0.1:{port}", pid


@contextmanager
def litellm(program: Path, upstream: str) -> Iterator[tuple[str, int]]:
    """LiteLLM's proxy, one worker, set up as its documentation advises for production."""
    port = free_port()
    model = {"model": "openai/demo", "api_base": f"{upstream}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "demo", "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
        # The other front ends check no key either.
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    environment = {
        **os.environ,
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        # Prevents it from fetching price lists.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with tempfile.TemporaryDirectory() as directory:
        # JSON is YAML.
        file = Path(directory) / "config.yaml"
        file.write_text(json.dumps(config))
        command = [str(program), "--config", str(file), "--host", "127.0.0.1"]
        flags = ["--port", str(port), "--num_workers", "1"]
        ready = f"http://127.0.0.1:{port}/health/liveliness"
        with running([*command, *flags], ready, environment) as pid:
            yield f"http://127.0.0.1:{port}", pid


# Program -> what it is called with, before the options that both have.
ROUTERS = {"vllm-router": (), "sglang-router": ("launch",)}


def find_routers(given: Path | None) -> dict[str, Path]:
    """Name -> program, of those in the environment `given`, or on PATH."""
    found = {name: shutil.which(name, path=given and given / "bin") for name in ROUTERS}
    return {name: Path(program) for name, program in found.items() if program}


@contextmanager
def router(name: str, program: Path, upstream: str) -> Iterator[tuple[str, int]]:
    port = free_port()
    command = [str(program), *ROUTERS[name], "--host", "127.0.0.1", "--port", str(port)]
    flags = ["--worker-urls", upstream, "--policy", "round_robin", "--log-level", "error"]
    # Its own metrics have a fixed port otherwise.
    flags += ["--prometheus-port", str(free_port())]
    with running([*command, *flags], f"http://127.0.0.1:{port}/health") as pid:
        yield f"http://127.0.0.1:{port}", pid


@contextmanager
def running(
    command: Sequence[str],
    ready: str,
    environment: Mapping[str, str] | None = None,
    *,
    session: bool = False,
) -> Iterator[int]:
    """A server's process, once `ready` answers; `environment` instead of this one's."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=session
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(ready):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.1)
            yield child.pid
        finally:
            child.terminate()
            child.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
