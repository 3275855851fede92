"""A request nobody waits for any more gives its slot to the next one at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from enginix.triton.client.client import TokenRequest
from tests.triton_repo.conftest import END, Asker

pytestmark = pytest.mark.triton

SLOTS = 16
ENDLESS = 4000


@asynccontextmanager
async def generating(ask: Asker) -> AsyncIterator[None]:
    """An endless answer that has begun; it is cancelled when the block ends."""
    request = TokenRequest([2013, 1123, 198], ENDLESS)
    async with aclosing(ask.client.generate(request)) as answer:
        await anext(answer)
        yield


async def test_a_cancelled_request_frees_its_slot_within_100_ms(ask: Asker) -> None:
    waits: list[float] = []
    # Many times, because the machine may be busy with something else.
    while min(waits, default=1.0) >= 0.1 and len(waits) < 30:
        async with AsyncExitStack() as others:
            for _ in range(SLOTS - 1):
                await others.enter_async_context(generating(ask))
            async with generating(ask):
                waiting = asyncio.create_task(ask(max_tokens=1))
                await asyncio.sleep(0)
            begun = time.perf_counter()
            await waiting
            waits.append(time.perf_counter() - begun)
    assert min(waits) < 0.1, waits


async def test_a_request_that_waits_for_a_slot_can_be_cancelled(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    async with AsyncExitStack() as others:
        for _ in range(SLOTS):
            await others.enter_async_context(generating(ask))
        waiting = [asyncio.create_task(ask()) for _ in range(20)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        for task in waiting:
            task.cancel()
        assert not done
    answer = await ask()
    assert answer.ids == evals[0]["answer_ids"][:-1]


async def test_hundreds_of_cancelled_requests_leave_the_model_as_it_was(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    async def begin(number: int) -> None:
        async with asyncio.timeout(0.002 * (number % 50)):
            await ask(number % 50, 200, end_id=None)

    await asyncio.gather(*(begin(number) for number in range(300)), return_exceptions=True)
    answers = [await ask(number, 200) for number in range(20)]
    expected = [one["answer_ids"] for one in evals[:20]]
    assert [[*answer.ids, END] for answer in answers] == expected
