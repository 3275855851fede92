from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guided_starts import GuidedStarts


def test_short_guides_pass_long_ones_and_keep_their_order() -> None:
    starts, busy, go = GuidedStarts("guided-starts"), threading.Event(), threading.Event()
    order: list[str] = []

    def said(word: str) -> Callable[[], None]:
        return lambda: order.append(word)

    starts.put(lambda: (busy.set(), go.wait(5)), 10_000)
    assert busy.wait(5)
    for word, size in (("long", 9000), ("short", 10), ("longest", 9001), ("short too", 10)):
        starts.put(said(word), size)
    go.set()
    starts.close()
    assert order == ["short", "short too", "long", "longest"]


def test_starts_with_a_share_of_a_core_pause_in_proportion_to_their_work() -> None:
    starts, ended = GuidedStarts("slow", share=0.1), threading.Event()
    times: list[float] = []

    def work() -> None:
        times.append(time.monotonic())
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    starts.put(work, 1)
    starts.put(work, 1)
    starts.put(ended.set, 2)
    assert ended.wait(10)
    starts.close()
    assert times[1] - times[0] >= 0.02 / 0.1


def test_closing_does_not_wait_for_pauses() -> None:
    starts = GuidedStarts("slow", share=1e-9)
    order: list[int] = []
    for number in range(3):
        starts.put(lambda number=number: order.append(number), number)  # type: ignore[misc]
    starts.close()
    assert order == [0, 1, 2]
