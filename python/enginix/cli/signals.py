"""Ends a command on a signal as it ends by itself, so that it cleans up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from enginix.process import descendants

logger = logging.getLogger(__name__)

LEAVING_SECONDS = 2.0


def nothing_to_reload() -> None:
    """What SIGHUP does to a command that has read no file which it could read again."""
    logger.info("SIGHUP changes nothing here: this command has no file to read again")


def run_until_signalled(
    work: Coroutine[Any, Any, None], on_hangup: Callable[[], None] = nothing_to_reload
) -> bool:
    """Run `work` until it ends, fails, or SIGINT or SIGTERM cancels it; True when a signal did.

    `work` stops what it has started in its own context managers, before this returns; a second
    signal kills what that waits for. SIGHUP calls `on_hangup`, unless the terminal is gone: then it
    cancels `work`, too.
    """
    return asyncio.run(_run(work, on_hangup))


async def _run(work: Coroutine[Any, Any, None], on_hangup: Callable[[], None]) -> bool:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not task.cancelling():
            logger.info("ending; a second signal ends everything at once")
            task.cancel()

    def signalled() -> None:
        if task.cancelling():
            # Not `cancel` again: that would interrupt the cleaning up.
            _kill(descendants(os.getpid()))
        else:
            end()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    handle_hangup(on_hangup, end)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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
    # A worker is started with it held.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def hangup_is_ignored() -> bool:
    """Whether it was started so, as `nohup` does."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _terminals() -> set[int]:
    """Which of the standard streams are a terminal that still exists."""
    return {number for number in range(3) if os.isatty(number)}


def run_measurement(
    work: Coroutine[Any, Any, None], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> int:
    """Run `work`; 0, or the exit status of the signal that ended it before its time.

    The caller then shows what `work` has measured so far.
    """
    try:
        with terminated_as_exit(), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


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
