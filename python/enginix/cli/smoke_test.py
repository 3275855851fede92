"""Sends a gateway one prompt and shows the answer as it streams, to prove that serving works."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from enginix.cli.chat_stream import stream_chat
from enginix.cli.views.console import Console
from enginix.errors import BackendError

TIMEOUT = 60.0
# A ready server may still refuse: it was just restarted, or its queue is full.
RETRY_FOR = 15.0
RETRY_SECONDS = 1.0


async def try_hello(
    console: Console,
    url: str,
    model: str,
    question: str,
    *,
    retry_for: float = RETRY_FOR,
    pause: float = RETRY_SECONDS,
) -> str | None:
    """Show the question and its answer, with retries; return why no answer came, if none did.

    A failure is for people to read, and no reason to stop servers.
    """
    console.print(f"\n[bold]you[/]      {question}")
    loop = asyncio.get_running_loop()
    until = loop.time() + retry_for
    while True:
        try:
            await say_hello(console, url, model, question)
            return None
        except BackendError as error:
            why = str(error)
        if loop.time() >= until:
            return why
        await asyncio.sleep(pause)


async def say_hello(console: Console, url: str, model: str, question: str) -> None:
    """Print reasoning and answer; BackendError when no answer comes."""
    shown = ""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0}
    async with aclosing(stream_chat(url, body, TIMEOUT)) as deltas:
        async for kind, text in deltas:
            if kind == "finish":
                continue
            if kind != shown:
                label, style = ("thinks", "dim") if kind == "reasoning" else (model, "")
                if shown:
                    console.print()
                console.print(f"[bold]{label:<8}[/] ", end="")
                shown, text = kind, text.lstrip()
            console.print(text.replace("\n", " "), end="", style=style, markup=False)
    console.print()
    if shown != "content":
        raise BackendError(f"{url} gave no answer to {question!r}; see its log")
