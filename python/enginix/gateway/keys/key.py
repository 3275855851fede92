"""A named API key: what it may use, how much of it, and how soon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import sha256

# A worker's count of one key's running requests has 16 bits.
MOST_RUNNING = 2**16 - 1
QUOTES = "\"'`"


@dataclass(frozen=True, slots=True)
class Key:
    """A limit that is None does not apply."""

    name: str
    digest: bytes
    """SHA-256 of the key, which itself is stored nowhere."""
    models: tuple[str, ...] = ()
    """Names, or patterns such as "qwen*"; empty: all models."""
    max_running: int | None = None
    """Requests that run or wait at once."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Tokens of prompts and answers together."""
    priority: int = 0
    """Of its requests; lower is sooner."""
    expires: datetime | None = None
    """Refused from then on."""
    admin: bool = False
    """May load, unload and restart models, stop requests, and read logs."""

    @property
    def limited(self) -> bool:
        limits = (self.max_running, self.requests_per_minute, self.tokens_per_minute)
        return any(limit is not None for limit in limits)

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires <= datetime.now(UTC)

    def may_use(self, names: Iterable[str]) -> bool:
        """Whether it may use the model with this name and these aliases."""
        return not self.models or any(
            fnmatchcase(name, pattern) for name in names for pattern in self.models
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of one of a key's limits."""

    limit: int
    left: int
    reset: float
    """Seconds until all of it is."""


def fault_of(key: str) -> str | None:
    """Why a client could not send it as it is, in words that do not quote it; None if it can."""
    if not key.isascii():
        return "has a character that is not ASCII, and HTTP headers carry no other; make a new key"
    if not key.isprintable() or " " in key:
        return "has a space or a control character in it; write the key alone, one per line"
    if key[0] in QUOTES and key[-1] == key[0]:
        return "is in quotes, which clients would have to send as well; write it without them"
    return None


def digest_of(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
