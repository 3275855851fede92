"""A failed sample question is only reported; it never stops the server."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from enginix.cli import smoke_test as hello

REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'data: {"choices": [{"delta": {"content": "Hi there"}}]}\n\ndata: [DONE]\n\n'
)


async def asked(*answers: bytes) -> tuple[str | None, str]:
    """The result when the server gives these answers in turn, and repeats the last one."""
    turns = iter(answers)
    last = [answers[-1]]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(turns, last[0]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    shown = io.StringIO()
    async with server:
        why = await hello.try_hello(
            Console(file=shown), f"http://{host}:{port}", "m", "Hello?", retry_for=0.3, pause=0.01
        )
    return why, shown.getvalue()


async def test_a_refused_prompt_is_retried() -> None:
    why, shown = await asked(REFUSAL, REFUSAL, ANSWER)
    assert why is None
    assert shown.count("Hello?") == 1
    assert "Hi there" in shown


async def test_a_server_that_keeps_refusing_is_reported_and_not_stopped() -> None:
    why, _ = await asked(REFUSAL)
    assert why is not None
    assert "503" in why
