"""tensorrt-edgellm-serve, with what its HTTP server does and does not."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from experimental.server.runtime import engine_build
from fakes.wedged_server import TOKENS, Server, begin, chunk, reply
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

CONTEXT = 400
"""Characters, in this stand-in."""
TURNS = 16
"""Requests that wait for their turn; any further one is refused."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StreamOptions(Strict):
    include_usage: StrictBool = False


class ChatRequest(Strict):
    """Every other field is refused, and so is null for a number."""

    messages: list[dict[str, Any]]
    model: str | None = None
    frequency_penalty: float = Field(default=0.0, ge=0.0, le=0.0)
    presence_penalty: float = Field(default=0.0, ge=0.0, le=0.0)
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=50)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int = Field(default=1, ge=1, le=1)
    seed: int | None = Field(default=None, ge=0)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    top_k: int = Field(default=50, ge=-1)
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    response_format: dict[str, Any] | None = None
    guided_decoding: dict[str, Any] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    apply_chat_template: StrictBool = True
    add_generation_prompt: StrictBool = True
    enable_thinking: bool = False
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    disable_spec_decode: bool = False
    reuse_context: StrictBool = True
    cache_generated_tokens: StrictBool = True


class EdgeServer(Server):
    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self.name = args.served_model_name or Path(args.model).name
        self.tools = args.enable_auto_tool_choice
        self._slot = asyncio.Semaphore(args.max_batch_size if args.enable_in_flight_batching else 1)
        self._waiting = 0
        self.blocked: set[asyncio.Task[None]] = set()

    async def show(self, path: str, writer: asyncio.StreamWriter) -> None:
        match path:
            case "/health":
                reply(writer, 200, b'{"status": "healthy"}')
            case "/v1/models":
                reply(writer, 200, json.dumps({"data": [{"id": self.name}]}).encode())
            case "/asked":
                reply(writer, 200, json.dumps(self.asked).encode())
            case _:
                reply(writer, 404, b'{"detail":"Not Found"}')

    async def post(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path != "/v1/chat/completions":
            reply(writer, 404, b'{"detail":"Not Found"}')
            return
        try:
            asked = ChatRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            refuse(writer, 400, first["msg"], ".".join(map(str, first["loc"])) or None)
            return
        if wrong := self._refusal(asked):
            refuse(writer, *wrong)
            return
        if self._waiting > TURNS:
            refuse(writer, 429, "server request queue is full")
            return
        self.asked.append(json.loads(body))
        if asked.stream:
            await self._in_turn(self._stream(asked, writer))
            return
        # It never notices that such a client has left: the slot is taken to the end.
        task = asyncio.create_task(self._in_turn(self._whole(asked, writer)))
        self.blocked.add(task)
        await asyncio.shield(task)

    def _refusal(self, asked: ChatRequest) -> tuple[int, str, str | None] | None:
        if asked.model and asked.model != self.name:
            return 404, f"model {asked.model!r} is not served by this process", "model"
        if set(asked.chat_template_kwargs or ()) - {"enable_thinking", "reasoning_effort"}:
            return 400, "unsupported chat_template_kwargs", "chat_template_kwargs"
        if asked.tools and asked.tool_choice in (None, "auto") and not self.tools:
            return 400, "automatic tool choice is disabled", "tool_choice"
        if (size := len(json.dumps(asked.messages))) > CONTEXT:
            text = f"EDGELLM_INPUT_TOO_LONG: prefill length {size} exceeds engine max_input_len"
            return 413, f"{text} {CONTEXT} (rebuild engine with a larger --maxInputLen)", None
        return None

    async def _in_turn(self, work: Any) -> None:
        self._waiting += 1
        try:
            async with self._slot:
                await work
        finally:
            self._waiting -= 1

    def _answer(self, asked: ChatRequest) -> list[str]:
        switch = (asked.chat_template_kwargs or {}).get("enable_thinking", asked.enable_thinking)
        thought = ["<think>", "Capitals", "</think>"] if switch else []
        return [*thought, *TOKENS][: asked.max_completion_tokens or asked.max_tokens or 2048]

    async def _whole(self, asked: ChatRequest, writer: asyncio.StreamWriter) -> None:
        if self.how:
            await asyncio.Event().wait()
        message = {"role": "assistant", "content": "".join(self._answer(asked))}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply(writer, 200, json.dumps({"id": "x", "choices": [choice]}).encode())

    async def _stream(self, asked: ChatRequest, writer: asyncio.StreamWriter) -> None:
        begin(writer)
        self._event(writer, role="assistant")
        if self.how:
            await asyncio.Event().wait()
        answer = self._answer(asked)
        for token in answer:
            self._event(writer, content=token)
            await writer.drain()
            await asyncio.sleep(0.002)
        self._event(writer, reason="length" if len(answer) == asked.max_tokens else "stop")
        if asked.stream_options and asked.stream_options.include_usage:
            usage = {"prompt_tokens": 7, "completion_tokens": len(answer), "total_tokens": 0}
            self._chunk(writer, [], usage)
        chunk(writer, b"data: [DONE]\n\n")
        chunk(writer, b"")

    def _event(
        self,
        writer: asyncio.StreamWriter,
        role: str | None = None,
        content: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Every absent key is there, as null."""
        delta = {"role": role, "content": content, "reasoning_content": None}
        delta |= {"tool_calls": None, "audio": None}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        self._chunk(writer, [choice], None)

    def _chunk(self, writer: asyncio.StreamWriter, choices: list[Any], usage: Any) -> None:
        head = {"id": "x", "object": "chat.completion.chunk", "created": int(time.time())}
        body = {**head, "model": self.name, "choices": choices, "usage": usage}
        text = json.dumps(body, separators=(",", ":"))
        chunk(writer, f"data: {text}\n\n".encode())


def refuse(
    writer: asyncio.StreamWriter, status: int, message: str, param: str | None = None
) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": status}
    reply(writer, status, json.dumps({"error": error}).encode())


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tensorrt-edgellm-serve")
    parser.add_argument("model")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--reasoning-parser", default="auto", choices=("auto", "none", "qwen3"))
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--max-queued-requests", type=int, default=16)
    parser.add_argument("--cache-dir", default="")
    parser.add_argument("--max-input-len", type=int, default=4096)
    parser.add_argument("--max-batch-size", type=int, default=1)
    parser.add_argument("--max-kv-cache-capacity", type=int, default=8192)
    parser.add_argument("--enable-in-flight-batching", action="store_true")
    return parser.parse_args(arguments)


def prepare(args: argparse.Namespace) -> None:
    if Path(args.model, "llm.engine").exists():
        raise ValueError("engine bundles are cache artifacts; pass the checkpoint")
    limits = ("max_input_len", "max_kv_cache_capacity", "max_batch_size")
    options = engine_build.BuildOptions(**{name: getattr(args, name) for name in limits})
    place = Path(engine_build.bundle_cache_path(args.model, args.cache_dir, options))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_name(f"{place.name}.lock").touch()
    if not engine_build._is_ready(args.model, str(place), options):
        # Minutes without a port; whoever ends it now leaves this directory.
        tempfile.mkdtemp(prefix=".building-", dir=place.parent)
        print("Building serialized engine", file=sys.stderr, flush=True)
        time.sleep(3600)
    print(f"Using cached engine bundle: {place}", file=sys.stderr, flush=True)


def main() -> None:
    args = parsed()
    prepare(args)
    asyncio.run(listen(args))


async def listen(args: argparse.Namespace) -> None:
    server = await asyncio.start_server(EdgeServer(args).serve, args.host, args.port)
    print(f"Uvicorn running on http://{args.host}:{args.port}", flush=True)
    await server.serve_forever()
