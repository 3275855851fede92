"""The routes, and answers in the form that trtllm-serve gives them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from fakes.trtllm_serve.protocol import ChatRequest, CompletionRequest
from fakes.wedged_server import Server, begin, chunk, reply
from pydantic import ValidationError

PAUSE = 0.005
ROUTES = {"/v1/completions": CompletionRequest, "/v1/chat/completions": ChatRequest}
PATHS = ("/health", "/health_generate", "/version", "/v1/models", "/metrics", "/perf_metrics")
ANSWER = ["The", " capital", " of", " France", " is", " Paris", "."]


class TrtllmServer(Server):
    """`model` is the name in responses, whatever name requests have."""

    def __init__(self, model: str, reasoning_parser: str | None) -> None:
        super().__init__()
        self.model = model
        self._reasoning_parser = reasoning_parser

    async def show(self, path: str, writer: asyncio.StreamWriter) -> None:
        match path.partition("?")[0]:
            case "/health":
                empty(writer, 200)
            case "/health_generate":
                # It requests a token from itself, which a wedged server never gets.
                if self.how:
                    await asyncio.Event().wait()
                text(writer, 200, b"Generation health check OK")
            case "/version":
                reply(writer, 200, b'{"version":"1.3.0rc1"}')
            case "/v1/models":
                card = {"id": self.model, "object": "model", "created": int(time.time())}
                card["owned_by"] = "tensorrt_llm"
                reply(writer, 200, json.dumps({"object": "list", "data": [card]}).encode())
            case "/metrics":
                # Iterations since it was asked last, as JSON: nothing for Prometheus.
                reply(writer, 200, b"[]")
            case "/perf_metrics":
                reply(writer, 200, b"[]")
            case other if other in ROUTES:
                reply(writer, 405, b'{"detail":"Method Not Allowed"}')
            case _:
                reply(writer, 404, b'{"detail":"Not Found"}')

    async def post(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path in PATHS:
            reply(writer, 405, b'{"detail":"Method Not Allowed"}')
        elif path not in ROUTES:
            # /v1/messages and /tokenize do not exist.
            reply(writer, 404, b'{"detail":"Not Found"}')
        else:
            await self._checked(path, body, writer)

    async def _checked(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict):
                raise TypeError("Input should be a valid dictionary")
            if "max_tokens" in asked and path.endswith("/chat/completions"):
                asked["max_completion_tokens"] = asked.pop("max_tokens")
            ROUTES[path].model_validate(asked)
        except (ValueError, TypeError, ValidationError) as error:
            refused(writer, str(error))
        else:
            await self.generate(asked, path, writer)

    async def whole(self, asked: dict[str, Any], path: str, writer: asyncio.StreamWriter) -> None:
        if self.stays:
            await asyncio.Event().wait()
        generated, reason = self._generate(asked, path)
        if "chat" in path:
            thought, answer = self._split_reasoning("".join(generated))
            message = {
                "role": "assistant",
                "content": answer,
                "reasoning_content": thought,
                "reasoning": None,
                "tool_calls": [],
            }
            choice: dict[str, Any] = {"index": 0, "message": message}
        else:
            choice = {
                "index": 0,
                "text": "".join(generated),
                "token_ids": None,
                "context_logits": None,
            }
        choice |= {"logprobs": None, "finish_reason": reason, "stop_reason": None}
        choice |= {"disaggregated_params": None, "avg_decoded_tokens_per_iter": None}
        body = {
            **self._head(asked, path, "chat.completion"),
            "choices": [choice],
            "usage": usage(len(generated)),
            "prompt_token_ids": None,
        }
        reply(writer, 200, json.dumps(body, separators=(",", ":")).encode())

    async def stream(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        chat = "messages" in asked
        path = "/v1/chat/completions" if chat else "/v1/completions"
        head = self._head(asked, path, "chat.completion.chunk")
        generated, reason = self._generate(asked, path)
        begin(writer)
        if chat:
            first = {**head, "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
            # It really has a blank before the end of this one event.
            chunk(writer, b"data: %b \n\n" % json.dumps(first, separators=(",", ":")).encode())
        thinks = chat and self._reasoning_parser is not None
        for place, token in enumerate(generated):
            last = place == len(generated) - 1
            if token == "</think>" and thinks:
                thinks, token = False, ""
            choice: dict[str, Any] = {"index": 0}
            if chat:
                thought, answer = (token, "") if thinks else ("", token)
                choice["delta"] = {"content": answer, "reasoning_content": thought}
            else:
                choice["text"] = token
            # The last token and the reason come in one event.
            choice |= {"finish_reason": reason} if last else {}
            event(writer, {**head, "choices": [choice]})
            await writer.drain()
            if self.how == "stopping":
                await asyncio.Event().wait()
            await asyncio.sleep(PAUSE)
        # Only who asks for it is told.
        if (asked.get("stream_options") or {}).get("include_usage", False):
            event(writer, {**head, "choices": [], "usage": usage(len(generated))})
        chunk(writer, b"data: [DONE]\n\n")
        chunk(writer, b"")

    def _head(self, asked: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
        chat = "chat" in path
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-1",
            "object": kind if chat else "text_completion",
            "created": int(time.time()),
            # The name from the request, whatever the model is called.
            "model": asked["model"],
        }

    def _generate(self, asked: dict[str, Any], path: str) -> tuple[list[str], str]:
        most = asked.get("max_completion_tokens") or asked.get("max_tokens") or 10**6
        tokens = ANSWER
        if "chat" in path and self._reasoning_parser:
            tokens = ["I", " am ", self.model, ".", "</think>", *ANSWER]
        return tokens[:most], "length" if len(tokens) > most else "stop"

    def _split_reasoning(self, generated: str) -> tuple[str, str]:
        """deepseek-r1 starts inside the reasoning: without an end tag all text is reasoning."""
        if self._reasoning_parser is None:
            return "", generated
        thought, _, answer = generated.partition("</think>")
        return thought, answer


def usage(tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 3,
        "total_tokens": 3 + tokens,
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def event(writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
    chunk(writer, b"data: %b\n\n" % json.dumps(data, separators=(",", ":")).encode())


def refused(writer: asyncio.StreamWriter, message: str) -> None:
    error = {"object": "error", "message": message, "type": "BadRequestError"}
    reply(writer, 400, json.dumps({**error, "param": None, "code": 400}).encode())


def empty(writer: asyncio.StreamWriter, status: int) -> None:
    writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: 0\r\n\r\n" % status)


def text(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
