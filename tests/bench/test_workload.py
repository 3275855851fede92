"""Servers that take `ignore_eos` and such that refuse it, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from enginix.bench.target import Target
from enginix.bench.workload import Workload
from enginix.errors import BackendError

REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def serving(refuses: bytes) -> AsyncIterator[Workload]:
    """Refuses bodies with these bytes; otherwise a word of the prompt is two tokens, and 5 more."""

    handlers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(ConnectionError):
            while head := await reader.read(1 << 16):
                body = head.partition(b"\r\n\r\n")[2]
                writer.write(REFUSAL if refuses in body else _answer(body))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = Target(f"127.0.0.1:{port}", seconds=20)
    try:
        yield Workload(target, "m", ignore_eos=False)
    finally:
        await target.close()
        server.close()
        await asyncio.gather(*filter(None, handlers))
        await server.wait_closed()


def _answer(body: bytes) -> bytes:
    words = len(json.loads(body)["messages"][0]["content"].split())
    chunk = {
        "choices": [{"delta": {"content": "a"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 2 * words + 5, "completion_tokens": 1},
    }
    event = f"data: {json.dumps(chunk)}\n\n".encode()
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(event)}\r\n\r\n".encode() + event


@pytest.mark.parametrize(("refuses", "ignores"), [(b"ignore_eos", False), (b"nothing", True)])
async def test_the_end_is_ignored_where_the_server_takes_the_field(
    refuses: bytes, ignores: bool
) -> None:
    async with serving(refuses) as workload:
        await workload.try_to_ignore_eos()
        answer = await workload.ask([{"role": "user", "content": "Hi"}], 4)

    assert workload.ignore_eos is ignores
    assert answer.failure is None


async def test_prompts_have_the_asked_number_of_the_servers_tokens() -> None:
    async with serving(b"nothing") as workload:
        prompts = await workload.prompts(None, 105, seed=0)
        answers = [await workload.ask(next(prompts), 1) for _ in range(3)]

    assert [answer.prompt_tokens for answer in answers] == [105] * 3


async def test_a_server_that_refuses_every_request_is_not_measured() -> None:
    async with serving(b"messages") as workload:
        with pytest.raises(BackendError, match=re.escape("fails without any load: HTTP 400")):
            await workload.prompts(None, 10, seed=0)
