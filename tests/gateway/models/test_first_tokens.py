from __future__ import annotations

import asyncio

from fakes.clock import Clock

from enginix.gateway.models.first_tokens import FirstTokens


def current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_a_request_that_three_later_ones_overtook_is_stalled() -> None:
    clock = Clock(0.0)
    waits = FirstTokens(clock)
    numbers = [waits.asked(current()) for _ in range(5)]
    clock.now = 4.0
    for number in numbers[2:]:
        waits.arrived(number)
    assert waits.stalled() == 2
    waits.left(numbers)
    assert waits.stalled() == 0


async def test_the_first_of_a_queue_is_not_stalled_however_long_it_waits() -> None:
    clock = Clock(0.0)
    waits = FirstTokens(clock)
    for _ in range(5):
        waits.asked(current())
    clock.now = 100.0
    assert waits.stalled() == 0
    assert waits.longest() == 100.0


async def test_requests_sent_earlier_do_not_overtake() -> None:
    clock = Clock(0.0)
    waits = FirstTokens(clock)
    numbers = [waits.asked(current()) for _ in range(5)]
    clock.now = 10.0
    for number in numbers[:4]:
        waits.arrived(number)
    assert waits.stalled() == 0


async def test_a_token_that_comes_after_all_ends_the_stall() -> None:
    clock = Clock(0.0)
    waits = FirstTokens(clock)
    numbers = [waits.asked(current()) for _ in range(4)]
    clock.now = 4.0
    for number in [*numbers[1:], numbers[0]]:
        waits.arrived(number)
    assert waits.stalled() == 0
