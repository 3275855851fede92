"""The result of one request: when its events arrived, how many tokens, or why it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class Answer:
    """Times are in seconds on one monotonic clock."""

    sent: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    """Arrival of each event that carried text, reasoning or part of a tool call."""
    ended: float = 0.0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """From the server's `usage`; None if it sends none."""
    cached_tokens: int | None = None
    """Prompt tokens that the server took from its cache; None if it does not say."""
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    """Of speculative decoding; None if the server does not say."""
    finished: bool = False
    failure: str | None = None

    @property
    def tokens(self) -> int:
        """Output tokens, or events if the server does not count tokens."""
        return len(self.arrivals) if self.output_tokens is None else self.output_tokens

    @property
    def first_token_seconds(self) -> float:
        return self.arrivals[0] - self.sent

    @property
    def seconds(self) -> float:
        return self.ended - self.sent

    @property
    def gaps(self) -> list[float]:
        """The times between events: 0 if both arrived in one chunk."""
        return [later - earlier for earlier, later in pairwise(self.arrivals)]

    @property
    def seconds_per_token(self) -> float | None:
        """The average after the first token; gaps hide it when an event holds several tokens."""
        if self.tokens < 2:
            return None
        return (self.arrivals[-1] - self.arrivals[0]) / (self.tokens - 1)
