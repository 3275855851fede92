"""Ends the model's process when Triton no longer takes a response.

A send that never comes back was seen once, after twenty minutes of load, deep inside Triton's
stub: every fourth request hung, and nothing else showed it. A dead process is noticed at once.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable

# A send takes 130 us, and a machine under the heaviest load makes some hundred milliseconds of it.
LONGEST_SEND = 10.0
LOOK_SECONDS = 1.0
# How long saying so may take.
LOG_SECONDS = 2.0
STDERR = 2


def end_when_stuck(
    stuck: Callable[[float], float],
    log: Callable[[str], None],
    *,
    longest: float = LONGEST_SEND,
    look: float = LOOK_SECONDS,
) -> Callable[[], None]:
    """`stuck`: how many seconds the slowest pending send has taken. Returns what ends the watch."""
    ended = threading.Event()
    arguments = (stuck, log, longest, look, ended)
    thread = threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


def _watch(
    stuck: Callable[[float], float],
    log: Callable[[str], None],
    longest: float,
    look: float,
    ended: threading.Event,
) -> None:
    before = time.monotonic()
    while not ended.wait(look):
        now = time.monotonic()
        # After the whole process was frozen, sends get their time again.
        frozen, before = now - before > 2 * look, now
        if not frozen and stuck(now) > longest:
            # What keeps the send may keep Triton's log, too, and that keeps Python's lock: this
            # ends the process without either, and says where each thread waits.
            faulthandler.dump_traceback_later(LOG_SECONDS, exit=True, file=STDERR)
            log(f"a response was not taken within {longest:g} s; this process ends, to be replaced")
            os._exit(1)
