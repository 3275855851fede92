"""`enginix up` and `enginix serve` as users run them: a process of its own, until it serves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from enginix.process import descendants
from enginix.runtimes.runtime import Runtime
from tests.conftest import Log, logged_program

CAPITAL = "What is the capital of France?"


@dataclass(frozen=True)
class Running:
    url: str
    process: subprocess.Popen[str]
    log: Log

    def ask(self, model: str, question: str = CAPITAL, **fields: Any) -> httpx.Response:
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "temperature": 0, **fields}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=20)

    def child(self, text: str) -> int:
        """The process of the profile whose command line holds `text`."""
        for pid in descendants(self.process.pid):
            if text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError(f"no process with {text!r}")

    def until_answered(self, model: str, seconds: float) -> httpx.Response:
        deadline = time.monotonic() + seconds
        while (answer := self.ask(model)).status_code != 200:
            assert time.monotonic() < deadline, (answer.text, self.log.text())
            time.sleep(0.1)
        return answer


def content(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def environment(home: Path, runtime: Runtime) -> dict[str, str]:
    return {
        **os.environ,
        "ENGINIX_HOME": str(home),
        "ENGINIX_RUNTIME_TRITON_CPU": str(runtime.root),
    }


@contextmanager
def serving(env: Mapping[str, str], port: int, *words: str) -> Iterator[Running]:
    """`enginix WORDS`, once it says that all of it serves; `port` is the gateway's."""
    command = [sys.executable, "-m", "enginix", *words, f"--port={port}"]
    line = "Ctrl-C stops everything"
    with logged_program(command, line, env=env, ends_within=60) as (process, log):
        yield Running(f"http://127.0.0.1:{port}", process, log)
