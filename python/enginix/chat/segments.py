"""Remembers the token ids of the parts of long prompts, because agents send a conversation again
with every turn.

A rendered chat is cut before tokens that the tokenizer isolates wherever they occur, such as
`<|im_end|>`. What lies before such a token has no influence on how it and the text after it are
tokenized, nor the other way round, so each segment is tokenized by itself, once.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import islice

CACHED_BYTES = 16 << 20
"""What one tokenizer remembers: 4 million token ids."""
# Conversations have a few for each message. A text full of them would take longer to cut than to
# tokenize; its rest is one segment.
MAX_CUTS = 16_384
# What Python needs for an entry beside its ids.
ENTRY_BYTES = 300


class SegmentCache:
    """The ids of segments, least recently used first; for any number of threads.

    `encode` tokenizes each of several texts.
    """

    def __init__(
        self,
        boundary: re.Pattern[str],
        encode: Callable[[Sequence[str]], Iterable[Sequence[int]]],
        capacity: int = CACHED_BYTES,
    ) -> None:
        self._boundary = boundary
        self._encode = encode
        self._capacity = capacity
        self._size = 0
        self._known: OrderedDict[bytes, array[int]] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self, text: str) -> array[int]:
        """The token ids of `text`; only segments that are not known are tokenized."""
        segments = self._cut(text)
        keys = [sha256(segment.encode()).digest() for segment in segments]
        found = self._look_up(dict.fromkeys(keys))
        missing = {
            key: segment for key, segment in zip(keys, segments, strict=True) if key not in found
        }
        new = {
            key: array("i", ids)
            for key, ids in zip(missing, self._encode([*missing.values()]), strict=True)
        }
        self._remember(new)
        found |= new
        whole = array("i")
        for key in keys:
            whole += found[key]
        return whole

    def _cut(self, text: str) -> list[str]:
        found = islice(self._boundary.finditer(text), MAX_CUTS)
        cuts = [match.start() for match in found]
        places = zip([0, *cuts], [*cuts, len(text)], strict=True)
        return [text[start:end] for start, end in places if start != end]

    def _look_up(self, keys: Iterable[bytes]) -> dict[bytes, array[int]]:
        found = {}
        for key in keys:
            # Not held in the loop: a short prompt may be waiting on the event loop.
            with self._lock:
                if (ids := self._known.get(key)) is not None:
                    self._known.move_to_end(key)
                    found[key] = ids
        return found

    def _remember(self, new: dict[bytes, array[int]]) -> None:
        for key, ids in new.items():
            with self._lock:
                if key not in self._known:
                    self._known[key] = ids
                    self._size += _weight(ids)
                while self._size > self._capacity:
                    self._size -= _weight(self._known.popitem(last=False)[1])


def _weight(ids: array[int]) -> int:
    return ENTRY_BYTES + ids.itemsize * len(ids)
