"""curl, as READMEs show it, against the whole stack."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.end_to_end.gateway_process import RunningGateway

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


def curl(gateway: RunningGateway, path: str, *flags: str, **body: object) -> tuple[str, int]:
    """The response body and the status."""
    data = ["--json", json.dumps({"model": "demo", "temperature": 0, **body})] if body else []
    command = ["curl", "-sS", "-N", "-w", "\n%{http_code}", *flags, *data, gateway.url + path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return text, int(status)


@pytest.mark.parametrize("flags", [(), ("--http1.0",), ("-H", "Expect: 100-continue")])
def test_a_chat_is_answered(gateway: RunningGateway, flags: tuple[str, ...]) -> None:
    text, status = curl(gateway, "/v1/chat/completions", *flags, messages=QUESTION)
    assert status == 200
    assert json.loads(text)["choices"][0]["message"]["content"] == ANSWER


def test_a_stream_ends_with_done(gateway: RunningGateway) -> None:
    text, status = curl(gateway, "/v1/chat/completions", messages=QUESTION, stream=True)
    chunks = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert (status, chunks[-1]) == (200, "[DONE]")
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == ANSWER


def test_a_chunked_body_is_accepted(gateway: RunningGateway) -> None:
    chunked = ("-H", "Transfer-Encoding: chunked")
    text, status = curl(gateway, "/v1/completions", *chunked, prompt="Hello", max_tokens=2)
    assert (status, json.loads(text)["usage"]["completion_tokens"]) == (200, 2)


def test_invalid_json_is_refused_in_openais_error_format(gateway: RunningGateway) -> None:
    text, status = curl(gateway, "/v1/chat/completions", "-d", "model=demo")
    assert status == 400
    assert json.loads(text)["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics"])
def test_a_head_response_has_no_body(gateway: RunningGateway, path: str) -> None:
    head, status = curl(gateway, path, "--head")
    assert status == 200
    assert head.lower().startswith("http/1.1 200")
