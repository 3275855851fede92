"""Runs the application with a fake backend, driven as ASGI or over a socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fakes.backend import FakeBackend
from fastapi import FastAPI

import enginix.catalog.load as catalog
from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.gateway.app import create_app
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import ServedModel
from enginix.gateway.prompt.defaults import SamplingDefaults
from enginix.gateway.server import server_config
from enginix.gateway.settings import Settings
from enginix.gateway.supervision.subscription import Opener
from enginix.manifest import BuiltWith, Chat, Limits, Manifest, Parallelism, Quantization, Source
from tests.oracle import tap

CHECKPOINT = catalog.DIRECTORY / "checkpoints/demo"
TOKENIZER = Tokenizer.load(CHECKPOINT)
TEMPLATE = ChatTemplate.load(CHECKPOINT)
EVALS = json.loads(
    (Path(__file__).parent.parent / "recordings" / "demo-evals.json").read_text(encoding="utf-8")
)


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text)


def served(
    backend: FakeBackend,
    *,
    name: str = "demo",
    aliases: tuple[str, ...] = ("tiny-qwen3",),
    context: int = 512,
    chat: Chat = Chat("think-tags", "hermes-json", "enable_thinking"),  # noqa: B008
    template: ChatTemplate = TEMPLATE,
    defaults: SamplingDefaults = SamplingDefaults(),  # noqa: B008
) -> ServedModel:
    manifest = Manifest(
        name=name,
        kind="gguf",
        architecture="Qwen3ForCausalLM",
        source=Source(None, None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(),
        limits=Limits(max_batch_size=16, max_seq_len=context, max_num_tokens=512),
        built_with=BuiltWith("0.1.0"),
        files={},
        chat=chat,
    )
    return ServedModel(manifest, TOKENIZER, template, defaults, backend, aliases)


@asynccontextmanager
async def application(
    *models: ServedModel, settings: Settings | None = None
) -> AsyncIterator[FastAPI]:
    app = create_app(lambda: models, settings)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def server(
    *models: Model, settings: Settings | None = None, opener: Opener | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A real uvicorn on a free port in this event loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    # uvloop does so itself; asyncio leaves it out, and each answer would wait 40 ms for the client.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = server_config(create_app(lambda: models, settings, opener=opener))
    config.load()
    uvicorn_server = uvicorn.Server(config)
    uvicorn_server.lifespan = config.lifespan_class(config)
    await uvicorn_server.startup([listener])
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # A supervisor's models may be another server's too.
    answers_itself = opener is None and all(isinstance(model, ServedModel) for model in models)
    if answers_itself:
        tap.OWN_PORTS.add(port)
    try:
        async with httpx.AsyncClient(
            base_url=url, timeout=20, trust_env=False, verify=False
        ) as client:
            yield client
    finally:
        # Its own shutdown waits for clocks; here everybody has left.
        for part in uvicorn_server.servers:
            part.close()
        await asyncio.gather(*uvicorn_server.server_state.tasks)
        for connection in list(uvicorn_server.server_state.connections):
            connection.shutdown()
        await uvicorn_server.lifespan.shutdown()
        # The next server on this port may be another's.
        tap.OWN_PORTS.discard(port)


NONE: Mapping[str, str] = {}


class Call:
    """One request driven as ASGI, so that the client can disconnect at any point."""

    def __init__(
        self, app: FastAPI, path: str, body: Any, headers: Mapping[str, str] = NONE
    ) -> None:
        self._app = app
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._inbox.put_nowait({"type": "http.request", "body": content, "more_body": False})
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.sent: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    def stop_reading(self) -> None:
        self._reads.clear()

    async def run(self) -> None:
        await asyncio.wait_for(self._app(self._scope, self._receive, self._send), 20)
        self._check_shape()

    def _check_shape(self) -> None:
        starts = [one for one in self.sent if one["type"] == "http.response.start"]
        if not starts:
            return
        headers = dict(starts[0]["headers"])
        tap.check(
            self._scope["method"],
            self._scope["path"],
            starts[0]["status"],
            headers.get(b"content-type", b"").decode(),
            self.body,
            whole=self.sent[-1].get("more_body") is False,
            ours=False,
        )

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def _receive(self) -> dict[str, Any]:
        return await self._inbox.get()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._reads.wait()
        self.sent.append(message)
        self.arrived.set()


def events(stream: str | bytes) -> list[Any]:
    """The JSON of every event; a complete stream ends with "[DONE]"."""
    text = stream.decode() if isinstance(stream, bytes) else stream
    found = []
    for block in text.split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
