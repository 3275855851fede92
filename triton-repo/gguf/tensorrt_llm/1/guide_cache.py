"""Caches compiled guides for later requests that send the same ones.

Agents send the schemas of their tools with every turn.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from ctypes import CDLL
from dataclasses import dataclass, field

from guide_trial import GUIDE_MEMORY, Trial, TrialFailed
from guides import Guide, Guides, Vocabulary
from llama_cpp import LlamaError

KEPT = 256
# Of all that are kept: room for one of the largest.
KEPT_MEMORY = GUIDE_MEMORY
# Compiling longer than this is noticed between the tokens of other answers where cores are scarce.
SLOW_SECONDS = 0.001


@dataclass(slots=True)
class Entry:
    """`slow`: compiling takes long, and so does copying. `lock` is held while either is done."""

    slow: bool = False
    memory: int = 0
    error: str | None = None
    guide: Guide | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class GuideCache:
    """Gives copies of compiled guides; evicts the least recently used. Thread-safe."""

    def __init__(
        self, library: CDLL, vocabulary: Vocabulary, *, trial: Trial | None = None
    ) -> None:
        self._guides = Guides(library, vocabulary)
        self._trial = trial or Trial(vocabulary)
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        # Held briefly; a trial has its own lock.
        self._lock = threading.Lock()
        self._trying = threading.Lock()

    def ready(self, kind: str, text: str) -> bool:
        """Whether `make` returns at once."""
        entry = self._found(_key(kind, text))
        return entry is not None and not entry.slow and bool(entry.guide or entry.error)

    def slow(self, kind: str, text: str) -> bool:
        """Whether `make` takes long even after this trial, every time.

        Raises LlamaError where no guide can be tried.
        """
        return self._entry(kind, text).slow

    def make(self, kind: str, text: str) -> Guide:
        """Raises LlamaError for a text that is not such a guide, or exceeds the limits."""
        entry = self._entry(kind, text)
        with entry.lock:
            if entry.guide is None and entry.error is None:
                try:
                    entry.guide = self._guides.make(kind, text)
                except LlamaError as error:
                    entry.error = str(error)
            if entry.guide is None:
                raise LlamaError(entry.error)
            return entry.guide.copy()

    def close(self) -> None:
        with self._trying:
            self._trial.close()

    def _entry(self, kind: str, text: str) -> Entry:
        key = _key(kind, text)
        entry = self._found(key)
        if entry is None:
            with self._trying:
                entry = self._found(key) or self._try(key, kind, text)
        return entry

    def _found(self, key: bytes) -> Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def _try(self, key: bytes, kind: str, text: str) -> Entry:
        entry = Entry()
        try:
            cost = self._trial.check(kind, text)
            entry.slow = cost.seconds > SLOW_SECONDS
            entry.memory = cost.memory
        except TrialFailed:
            # The failure is not the guide's: the next request may succeed.
            raise
        except LlamaError as error:
            entry.error = str(error)
        with self._lock:
            self._entries[key] = entry
            while len(self._entries) > KEPT or self._memory() > KEPT_MEMORY:
                self._entries.popitem(last=False)
        return entry

    def _memory(self) -> int:
        return sum(entry.memory for entry in self._entries.values())


def _key(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{text}".encode()).digest()
