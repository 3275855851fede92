"""A completions server on a real socket, as vLLM is one: it tokenizes, echoes and scores.

A token is a byte, and each has the same probability. `echoes` says how it treats a prompt whose
log probabilities are asked for: "as asked", "not at all" (trtllm-serve), "refuses" (llama-server),
or "with null".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class ScoringServer:
    url: str = ""
    logprob: float = -1.0
    echoes: str = "as asked"
    begins_with: tuple[int, ...] = ()
    """Tokens that its tokenizer puts before every text."""
    tokenizes: bool = True
    context: int | None = None
    answers: dict[str, str] = field(default_factory=dict)
    """Prompt -> its continuation."""
    asked: list[Body] = field(default_factory=list)
    """The bodies of all completions."""

    def reply(self, path: str, body: Body) -> tuple[int, Body]:
        if path == "/tokenize" and self.tokenizes:
            start = self.begins_with if body["add_special_tokens"] else ()
            return 200, {"tokens": [*start, *body["prompt"].encode()]}
        if path != "/v1/completions":
            return 404, {"detail": "Not Found"}
        self.asked.append(body)
        ids = body["prompt"]
        if not body.get("echo"):
            text = bytes(each for each in ids if each < 256).decode()
            return 200, {"choices": [{"text": self.answers.get(text, "!")}]}
        if self.echoes == "refuses":
            return 400, {"error": {"message": "Only no echo is supported"}}
        values: list[float | None] = [None, *[self.logprob] * len(ids)]
        if self.echoes == "not at all":
            values = values[-1:]
        if self.echoes == "with null":
            values = [None] * len(values)
        return 200, {"choices": [{"text": "", "logprobs": {"token_logprobs": values}}]}


@contextmanager
def scoring_server(**options: Any) -> Iterator[ScoringServer]:
    scripted = ScoringServer(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "tiny", "max_model_len": scripted.context}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*scripted.reply(self.path, body))

        def _send(self, status: int, document: Body) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scripted.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield scripted
        finally:
            server.shutdown()
            thread.join()
