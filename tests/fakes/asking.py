"""Short ways to ask a TritonClient in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from enginix.triton.client.client import TokenChunk, TokenRequest, TritonClient

SHORT = TokenRequest([1, 2, 3], 3)


async def ask(client: TritonClient, request: TokenRequest = SHORT) -> list[TokenChunk]:
    async with aclosing(client.generate(request)) as answer:
        return [chunk async for chunks in answer for chunk in chunks]


async def take(client: TritonClient, request: TokenRequest, seen: list[int]) -> None:
    """Append to `seen`, so that chunks before a failure are kept."""
    async with aclosing(client.generate(request)) as answer:
        await drain(answer, seen)


async def drain(answer: AsyncIterator[list[TokenChunk]], seen: list[int]) -> None:
    async for chunks in answer:
        seen += [token for chunk in chunks for token in chunk.ids]


async def ids(client: TritonClient, request: TokenRequest = SHORT) -> list[int]:
    seen: list[int] = []
    await take(client, request, seen)
    return seen
