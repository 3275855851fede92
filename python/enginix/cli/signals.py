"""Ends a command on a signal as it ends by itself, so that it cleans up."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

LEAVING_SECONDS = 2.0


def run_until_signalled(
    work: Coroutine[Any, Any, None], on_hangup: Callable[[], None] | None = None
) -> bool:
    """Run `work` until it ends, fails, or SIGINT or SIGTERM cancels it; True when a signal did.

    `work` stops what it has started in its own context managers, before this returns. SIGHUP calls
    `on_hangup`, unless the terminal is gone: then it cancels `work`, too.
    """
    return asyncio.run(_run(work, on_hangup))


async def _run(work: Coroutine[Any, Any, None], on_hangup: Callable[[], None] | None) -> bool:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    if on_hangup is not None:
        handle_hangup(on_hangup, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def handle_hangup(ask: Callable[[], object], end: Callable[[], object]) -> None:
    """Call one of them in the running event loop on SIGHUP: `end` if the terminal is gone."""
    if hangup_is_ignored():
        return
    loop, terminals = asyncio.get_running_loop(), _terminals()

    def end_if_gone() -> bool:
        gone = not terminals <= _terminals()
        if gone:
            end()
        return gone

    def hangup() -> None:
        if not end_if_gone():
            ask()
            # Some shells send it to their jobs just before they leave.
            loop.call_later(LEAVING_SECONDS, end_if_gone)

    loop.add_signal_handler(signal.SIGHUP, hangup)


def hangup_is_ignored() -> bool:
    """Whether it was started so, as `nohup` does."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _terminals() -> set[int]:
    """Which of the standard streams are a terminal that still exists."""
    return {number for number in range(3) if os.isatty(number)}


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block with SystemExit, so that it leaves nothing half-made.

    They are forwarded as SIGINT, on which asyncio cancels what it runs. An exception raised in a
    signal handler could interrupt the event loop itself and lose a child's exit.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    handlers = {signal.SIGTERM: interrupt, signal.SIGHUP: interrupt}
    if hangup_is_ignored():
        del handlers[signal.SIGHUP]
    # A shell without a terminal starts background jobs with SIGINT ignored.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except KeyboardInterrupt:
        if not received:
            raise
        raise SystemExit(128 + received[0]) from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)
