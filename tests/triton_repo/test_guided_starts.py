from __future__ import annotations

import threading
from collections.abc import Callable

from guided_starts import GuidedStarts


def test_short_guides_pass_long_ones_and_keep_their_order() -> None:
    starts, busy, go = GuidedStarts(), threading.Event(), threading.Event()
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
