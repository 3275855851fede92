"""What one request came to: when its pieces arrived, how many tokens, or why it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class Answer:
    """Times are seconds of one monotonic clock."""

    sent: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    """Of each event that carried text, reasoning or a tool call's words."""
    ended: float = 0.0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """As the server's `usage` says; None where it says nothing."""
    finished: bool = False
    failure: str | None = None

    @property
    def tokens(self) -> int:
        """Output tokens, or events where the server does not count them."""
        return len(self.arrivals) if self.output_tokens is None else self.output_tokens

    @property
    def first_token_seconds(self) -> float:
        return self.arrivals[0] - self.sent

    @property
    def seconds(self) -> float:
        return self.ended - self.sent

    @property
    def gaps(self) -> list[float]:
        """Between one event and the next: 0 where both came in one piece."""
        return [later - earlier for earlier, later in pairwise(self.arrivals)]

    @property
    def seconds_per_token(self) -> float | None:
        """After the first, on average; what a gap hides that holds several tokens."""
        if self.tokens < 2:
            return None
        return (self.arrivals[-1] - self.arrivals[0]) / (self.tokens - 1)
