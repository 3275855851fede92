"""Sends a gateway one prompt and shows the answer as it streams, to prove that serving works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
from rich.console import Console

from enginix.cli.ask_gateway import authorization
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
    """Show the question and its answer, with retries; the reason if no answer came.

    A failure is for people to read, and no reason to stop servers.
    """
    console.print(f"\n[bold]you[/]      {question}")
    loop = asyncio.get_running_loop()
    until = loop.time() + retry_for
    while True:
        try:
            await say_hello(console, url, model, question)
            return None
        except (BackendError, httpx.HTTPError) as error:
            why = str(error) or type(error).__name__
        if loop.time() >= until:
            return why
        await asyncio.sleep(pause)


async def say_hello(console: Console, url: str, model: str, question: str) -> None:
    """Print reasoning and answer; BackendError when no answer comes."""
    shown = ""
    async with aclosing(_deltas(url, model, question)) as deltas:
        async for kind, text in deltas:
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


async def _deltas(url: str, model: str, question: str) -> AsyncGenerator[tuple[str, str], None]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "temperature": 0,
    }
    timeout = httpx.Timeout(TIMEOUT)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False, headers=authorization(url)) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=body) as response,
    ):
        if response.status_code != httpx.codes.OK:
            error = (await response.aread()).decode(errors="replace")
            raise BackendError(f"{url} answered {response.status_code} to {question!r}: {error}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            data = json.loads(line.removeprefix("data: "))
            if "error" in data:
                raise BackendError(f"{url} broke off: {data['error']['message']}")
            for choice in data["choices"]:
                delta = choice["delta"]
                # OpenAI has no field for reasoning; servers disagree.
                if text := delta.get("reasoning_content") or delta.get("reasoning"):
                    yield "reasoning", text
                if text := delta.get("content"):
                    yield "content", text
