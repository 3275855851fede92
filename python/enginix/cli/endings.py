"""Makes the ways a command is ended from outside unwind it, as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block by SystemExit, so that nothing half-made is left.

    They are handed on as SIGINT: asyncio then cancels what it runs. An exception out of a signal's
    handler would come in the midst of the event loop and could lose the end of a child.
    """
    ended_by: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        ended_by.append(number)
        signal.raise_signal(signal.SIGINT)

    handlers = {signal.SIGTERM: interrupt, signal.SIGHUP: interrupt}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # As `nohup` wants it.
        del handlers[signal.SIGHUP]
    # A shell that is no terminal's starts background jobs with SIGINT ignored.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except KeyboardInterrupt:
        if not ended_by:
            raise
        raise SystemExit(128 + ended_by[0]) from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)
