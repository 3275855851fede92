"""Asks a gateway one question and shows the answer as it streams: the proof that all works."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
from rich.console import Console

from enginix.cli.ask_gateway import authorization
from enginix.errors import BackendError

PATIENCE = 60.0


async def say_hello(console: Console, url: str, model: str, question: str) -> None:
    """Print question, reasoning and answer; BackendError when no answer comes."""
    console.print(f"\n[bold]you[/]      {question}")
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
    timeout = httpx.Timeout(PATIENCE)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False, headers=authorization()) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=body) as response,
    ):
        if response.status_code != httpx.codes.OK:
            words = (await response.aread()).decode(errors="replace")
            raise BackendError(f"{url} answered {response.status_code} to {question!r}: {words}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            data = json.loads(line.removeprefix("data: "))
            if "error" in data:
                raise BackendError(f"{url} broke off: {data['error']['message']}")
            for choice in data["choices"]:
                delta = choice["delta"]
                # OpenAI has no field for it; servers disagree.
                if text := delta.get("reasoning_content") or delta.get("reasoning"):
                    yield "reasoning", text
                if text := delta.get("content"):
                    yield "content", text
