"""Renders with a slow chat template in a process of its own.

In the gateway's own process every thread takes turns with the thread of the tokens, so a template
that computes for seconds delays all streams, wherever it runs there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

from enginix import process
from enginix.chat.template import ChatTemplate
from enginix.errors import BackendUnavailable, RequestError, TemplateTooSlow

# The template's own limit is processor time, of which a busy machine gives this process little.
SECONDS = 30.0
# A line is a whole conversation or its prompt.
LINE_BYTES = 1 << 30
IDLE_SECONDS = 60.0
# It imports what this process does: under Nix the interpreter itself knows no packages, and a
# directory that is started in may have a module of any name.
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from enginix.chat.rendering import main; main()"
)


class RenderProcess:
    """One conversation at a time; the process starts with the first and ends when idle."""

    def __init__(self, *, seconds: float = SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._turn = asyncio.Lock()
        self._child: Process | None = None
        self._idle: asyncio.Task[None] | None = None

    async def render(self, template: ChatTemplate, arguments: dict[str, Any]) -> str:
        """`template.render(**arguments)`, whose arguments are JSON values."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._answer(template, arguments)
            except TimeoutError:
                await self.close()
                raise TemplateTooSlow(self._seconds) from None
            except asyncio.CancelledError:
                # Its answer would be taken for the next one's.
                await asyncio.shield(self.close())
                raise
            self._idle = asyncio.create_task(self._close_when_idle())
        if "text" in answer:
            return str(answer["text"])
        raise RequestError(str(answer["message"]), param=answer["param"], code=answer["code"])

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._idle is not None and self._idle is not asyncio.current_task():
            self._idle.cancel()
        child, self._child = self._child, None
        if child is not None:
            await process.end_tree(child, grace=0)

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(self._idle_seconds)
        await self.close()

    async def _answer(
        self, template: ChatTemplate, arguments: dict[str, Any]
    ) -> dict[str, str | None]:
        child = await self._running(template)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(_line(arguments))
            await child.stdin.drain()
            line = await child.stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line.endswith(b"\n"):
            await self.close()
            raise BackendUnavailable(
                "the process that renders this model's chat template has ended; send the request "
                "again, and see the gateway's log if it happens again"
            )
        answer: dict[str, str | None] = json.loads(line)
        return answer

    async def _running(self, template: ChatTemplate) -> Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await process.start(
                [sys.executable, "-I", "-c", PROGRAM, json.dumps(sys.path)],
                stdin=PIPE,
                stdout=PIPE,
                limit=LINE_BYTES,
            )
            assert self._child.stdin is not None
            first = {"sources": template.sources, "special_tokens": template.special_tokens}
            self._child.stdin.write(_line(first))
        return self._child


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
