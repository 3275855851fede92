"""Guides that have been tried and compiled, for the next request that sends the same ones.

Agents send the schemas of their tools with every turn.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from ctypes import CDLL

from guide_trial import Trial
from guides import Guide, Guides, Vocabulary
from llama_cpp import LlamaError

KEPT = 64


class GuideCache:
    """Gives copies of compiled guides; the least recently used make room. Thread-safe."""

    def __init__(self, library: CDLL, vocabulary: Vocabulary, *, kept: int = KEPT) -> None:
        self._guides = Guides(library, vocabulary)
        self._trial = Trial(vocabulary)
        self._kept = kept
        self._made: OrderedDict[bytes, Guide | LlamaError] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, kind: str, text: str) -> Guide:
        """Raises LlamaError for a text that is no such guide, or one beyond the limits."""
        key = hashlib.sha256(f"{kind}\n{text}".encode()).digest()
        with self._lock:
            if key not in self._made:
                self._made[key] = self._compile(kind, text)
                if len(self._made) > self._kept:
                    _, oldest = self._made.popitem(last=False)
                    if isinstance(oldest, Guide):
                        oldest.close()
            self._made.move_to_end(key)
            made = self._made[key]
            if isinstance(made, LlamaError):
                raise LlamaError(str(made))
            return made.copy()

    def close(self) -> None:
        with self._lock:
            self._trial.close()

    def _compile(self, kind: str, text: str) -> Guide | LlamaError:
        try:
            self._trial.check(kind, text)
            return self._guides.make(kind, text)
        except LlamaError as error:
            return error
