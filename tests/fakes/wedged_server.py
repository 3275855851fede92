"""An OpenAI server that works until POST /wedge/HOW makes it misbehave.

python wedged_server.py PORT. After a restart it works again. HOW is one of:

silent     accepts requests and never answers one
hollow     starts every answer and never sends a token
refusing   always answers 503
stopping   streams stop in mid-answer without an end, new ones never start
busy       like silent, but uses all of a core
every3     every third request (or every Nth) is accepted and never answered
gone       the process is killed
zombie     the process is gone and one of its children still holds the port
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine

TOKENS = ["The", " capital", " of", " France", " is", " Paris", "."]


class Server:
    def __init__(self) -> None:
        self.how = ""
        self.stays = False
        """Block answers that are not streamed, too."""
        self.asked: list[dict[str, object]] = []
        self.heads: list[str] = []
        self.running = 0
        self.began = asyncio.Event()
        self.left = asyncio.Event()
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        self.heads.append(head)
        method, path, _ = head.split(" ", 2)
        length = next(
            (int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-l")),
            0,
        )
        body = await reader.readexactly(length)
        if path.startswith("/wedge/"):
            reply(writer, 200, b"{}")
            await writer.drain()
            self.wedge(path.removeprefix("/wedge/"))
        elif method == "GET":
            await self.show(path, writer)
        else:
            await self.unless_left(self.post(path, body, writer), reader)
        await writer.drain()
        return True

    async def unless_left(
        self, work: Coroutine[object, object, None], reader: asyncio.StreamReader
    ) -> None:
        """Free the slot of a client that has disconnected, as real servers do."""
        self.running += 1
        self.began.set()
        working, left = asyncio.create_task(work), asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ConnectionResetError
            working.result()
        finally:
            self.running -= 1
            self.left.set()
            for task in (working, left):
                task.cancel()
                await asyncio.wait({task})

    def close(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def show(self, path: str, writer: asyncio.StreamWriter) -> None:
        reply(writer, 200, b"{}")

    async def post(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        await self.generate(json.loads(body), path, writer)

    async def generate(
        self, asked: dict[str, object], path: str, writer: asyncio.StreamWriter
    ) -> None:
        self.asked.append(asked)
        if self.how.startswith("every") and not len(self.asked) % int(self.how[5:]):
            await asyncio.Event().wait()
        match self.how:
            case "refusing":
                reply(writer, 503, b'{"error": {"message": "loading"}}')
            case "silent" | "busy" | "stopping":
                await asyncio.Event().wait()
            case "hollow":
                begin(writer)
                await asyncio.Event().wait()
            case _ if asked.get("stream"):
                await self.stream(asked, writer)
            case _:
                await self.whole(asked, path, writer)

    async def whole(self, asked: dict[str, object], path: str, writer: object) -> None:
        if self.stays:
            await asyncio.Event().wait()
        text = "".join(TOKENS)
        choice = {"index": 0, "finish_reason": "stop", "text": text}
        if "chat" in path:
            choice["message"] = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 3, "completion_tokens": len(TOKENS), "total_tokens": 10}
        body = {"id": "x", "model": asked.get("model"), "choices": [choice], "usage": usage}
        reply(writer, 200, json.dumps(body).encode())  # type: ignore[arg-type]

    async def stream(self, asked: dict[str, object], writer: asyncio.StreamWriter) -> None:
        begin(writer)
        for number in range(int(str(asked.get("max_tokens") or len(TOKENS)))):
            delta = {"content": TOKENS[number % len(TOKENS)]}
            event = {
                "id": "x",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked.get("model"),
                "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            }
            chunk(writer, b"data: %b\n\n" % json.dumps(event).encode())
            await writer.drain()
            if self.how == "stopping":
                await asyncio.Event().wait()
            await asyncio.sleep(0.01)
        chunk(writer, b"data: [DONE]\n\n")
        chunk(writer, b"")

    def wedge(self, how: str) -> None:
        self.how = how
        match how:
            case "gone":
                os.kill(os.getpid(), signal.SIGKILL)
            case "zombie":
                if os.fork():
                    os._exit(1)
                time.sleep(3600)
            case "busy":
                if not os.fork():
                    while True:
                        pass


def begin(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def reply(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


async def main() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", int(sys.argv[1]))
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
