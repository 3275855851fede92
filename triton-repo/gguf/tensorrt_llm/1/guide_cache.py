"""Caches compiled guides for later requests that send the same ones.

Agents send the schemas of their tools with every turn.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from ctypes import CDLL

from guide_trial import Trial, TrialFailed
from guides import Guide, Guides, Vocabulary
from llama_cpp import LlamaError

KEPT = 64


class GuideCache:
    """Gives copies of compiled guides; evicts the least recently used. Thread-safe."""

    def __init__(
        self, library: CDLL, vocabulary: Vocabulary, *, trial: Trial | None = None
    ) -> None:
        self._guides = Guides(library, vocabulary)
        self._trial = trial or Trial(vocabulary)
        self._made: OrderedDict[bytes, Guide | LlamaError] = OrderedDict()
        # Held briefly; compiling has its own lock.
        self._lock = threading.Lock()
        self._compiling = threading.Lock()

    def known(self, kind: str, text: str) -> bool:
        """Whether `make` returns without compiling."""
        return self._found(_key(kind, text)) is not None

    def make(self, kind: str, text: str) -> Guide:
        """Raises LlamaError for a text that is not such a guide, or exceeds the limits."""
        key = _key(kind, text)
        made = self._found(key, copied=True)
        if made is None:
            with self._compiling:
                made = self._found(key, copied=True)
                if made is None:
                    self._keep(key, self._compile(kind, text))
                    made = self._found(key, copied=True)
        if isinstance(made, LlamaError):
            raise LlamaError(str(made))
        assert made is not None, "what was kept last is the last to make room"
        return made

    def close(self) -> None:
        with self._compiling:
            self._trial.close()

    def _found(self, key: bytes, *, copied: bool = False) -> Guide | LlamaError | None:
        with self._lock:
            made = self._made.get(key)
            if made is not None:
                self._made.move_to_end(key)
            return made.copy() if copied and isinstance(made, Guide) else made

    def _keep(self, key: bytes, made: Guide | LlamaError) -> None:
        with self._lock:
            self._made[key] = made
            if len(self._made) > KEPT:
                _, oldest = self._made.popitem(last=False)
                if isinstance(oldest, Guide):
                    oldest.close()

    def _compile(self, kind: str, text: str) -> Guide | LlamaError:
        try:
            self._trial.check(kind, text)
            return self._guides.make(kind, text)
        except TrialFailed:
            # The failure is not the guide's: the next request may succeed.
            raise
        except LlamaError as error:
            return error


def _key(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{text}".encode()).digest()
