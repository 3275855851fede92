"""What an operator decides about a gateway, parsed once and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GuideLimits:
    """What an engine may be asked to hold an answer or a call to."""

    characters: int = 256 << 10
    """Of a schema, a regular expression or a grammar."""
    depth: int = 200
    """Levels of schemas or parentheses inside each other."""
    repetitions: int = 10_000
    """The highest bound of a repetition, or of an array's items."""
    quantifiers: int = 10_000
    """Of the kind *, + and ? in one pattern."""
    choices: int = 10_000
    """Values of one enum, or schemas of one choice."""
    values: int = 100_000
    """All parts of a schema together."""


# Of engines that compile guides where they serve: in llama-server an enum of 10,000 values holds up
# every stream for half a minute, and a pattern of 2,000 stars for one and a half.
PASSED_ON = GuideLimits(characters=64 << 10, quantifiers=200, choices=1000, values=20_000)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may ask for."""

    body_bytes: int = 16 << 20
    body_seconds: float = 60.0
    """What a client gets to send its body."""
    messages: int = 4096
    choices: int = 16
    stop_strings: int = 64
    guide: GuideLimits = field(default_factory=GuideLimits)
    """Where guides are tried in a process with limits of its own."""
    passed_on: GuideLimits = PASSED_ON
    """Where another server is asked, which compiles them itself."""
    image_urls: bool = False
    """Other servers may be asked to fetch images themselves, from wherever a client says."""
    max_tokens: int | None = None
    """The most tokens one answer may have; None leaves it to the context."""


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """How much happens at once, per model and worker process. Seconds are floats."""

    running: int = 1024
    waiting: int = 1024
    keep_awake: float = 10.0
    """Without a first token for this long, the stream begins with a comment, for proxies' sake."""
    stalled_reader: float = 60.0
    """A client that takes nothing for this long is gone."""
    drain: float = 30.0
    """What running answers get to finish after SIGTERM."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What /v1/responses remembers, per worker process."""

    responses: int = 1000
    bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    request: RequestLimits = field(default_factory=RequestLimits)
    load: LoadLimits = field(default_factory=LoadLimits)
    store: StoreLimits = field(default_factory=StoreLimits)
    api_keys: frozenset[str] = frozenset()
    """Empty: everybody may ask."""
    cors_origins: frozenset[str] = frozenset()
    """Web pages from there may ask too, in their visitors' browsers; "*" means all of them."""
    allowed_hosts: frozenset[str] = frozenset()
    """The names that this server goes by in a Host header; empty: any."""
    log_prompts: bool = False
    supervisor: Path | None = None
    """The socket of whoever starts and ends the models' servers."""
