"""A gateway's configuration, parsed once and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GuideLimits:
    """Bounds on structured output, above which a request is refused."""

    characters: int = 256 << 10
    """Length of a schema, a regular expression or a grammar."""
    depth: int = 200
    """Nesting depth of schemas or parentheses."""
    repetitions: int = 10_000
    """The highest bound of a repetition, or of an array's items."""
    quantifiers: int = 500
    """Count of *, + and ? in one regular expression. Each step through it takes longer by their
    square: 2,000 take 25 ms of a step that all of a model's streams wait for."""
    grammar_quantifiers: int = 10_000
    """The same in a grammar, whose rules are read one by one."""
    choices: int = 10_000
    """Values of one enum, or schemas of one anyOf."""
    values: int = 100_000
    """Count of all parts of a schema."""


# For engines that compile guides in the serving process: in llama-server an enum of 10,000 values
# stalls every stream for 30 s, and a pattern of 2,000 stars for 90 s.
PASSED_ON = GuideLimits(
    characters=64 << 10,
    quantifiers=200,
    grammar_quantifiers=200,
    choices=1000,
    values=20_000,
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits on one request."""

    body_bytes: int = 16 << 20
    body_seconds: float = 60.0
    """Time for a client to send its body."""
    messages: int = 4096
    choices: int = 16
    stop_strings: int = 64
    guide: GuideLimits = field(default_factory=GuideLimits)
    """For guides that are first compiled in a process with limits of its own."""
    passed_on: GuideLimits = PASSED_ON
    """For guides that another server compiles."""
    image_urls: bool = False
    """Whether other servers may fetch images from any URL that a client sends."""
    max_tokens: int | None = None
    """Maximum tokens of one answer; None allows the whole context."""


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Concurrency limits per model and worker process. Floats are seconds."""

    running: int = 1024
    waiting: int = 1024
    keep_awake: float = 10.0
    """Without a first token for this long, the stream starts with a comment, for proxies."""
    stalled_reader: float = 60.0
    """A client that reads nothing for this long is disconnected."""
    shutdown_delay: float = 0.0
    """How long new requests are still accepted after SIGTERM, while /readyz is 503."""
    drain: float = 30.0
    """How long running answers may take to finish after that."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What /v1/responses stores, per worker process."""

    responses: int = 1000
    bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class TraceSettings:
    endpoint: str
    """The URL that spans are posted to."""
    sample_ratio: float = 1.0
    """How many of the requests are recorded that no client has decided about."""
    prompts: bool = False
    """Whether spans have the requests' texts."""


@dataclass(frozen=True, slots=True)
class Settings:
    request: RequestLimits = field(default_factory=RequestLimits)
    load: LoadLimits = field(default_factory=LoadLimits)
    store: StoreLimits = field(default_factory=StoreLimits)
    api_keys: frozenset[str] = frozenset()
    """Keys without names or limits."""
    key_file: Path | None = None
    """A TOML file of named keys."""
    home: Path | None = None
    """enginix' own directory: metrics show how full its file system is."""
    usage_directory: Path | None = None
    """Where it is written what named keys have used."""
    cors_origins: frozenset[str] = frozenset()
    """Web pages from these origins may send requests; "*" allows all."""
    allowed_hosts: frozenset[str] = frozenset()
    """Accepted names in the Host header; empty: any."""
    log_prompts: bool = False
    traces: TraceSettings | None = None
    supervisor: Path | None = None
    """The socket of the supervisor that starts and stops model servers."""

    @property
    def keyless(self) -> bool:
        """Whether requests need no API key."""
        return not self.api_keys and self.key_file is None
