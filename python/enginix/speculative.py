"""How a model's server drafts tokens ahead, for the model to check several of them at once.

The same few words in the catalogue, in profiles, models files and load requests; what a server
calls them is in its file in serve/servers/.
"""

from __future__ import annotations

from dataclasses import dataclass

from enginix.errors import did_you_mean

NONE = "none"
# Method -> whether another model drafts. MTP's layers are in the model's own checkpoint, and ngram
# looks for what the text has already said.
METHODS = {"eagle3": True, "mtp": False, "draft": True, "ngram": False, NONE: False}
MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speculative:
    method: str
    """One of METHODS; none: not at all, even where the catalogue says how."""
    model: str = ""
    """What drafts, for eagle3 and draft: a path, or a name as the model itself may have one."""
    tokens: int = 3
    """How many are drafted at once."""

    @property
    def is_on(self) -> bool:
        return self.method != NONE

    @property
    def mistake(self) -> str:
        """What is wrong with it, and what would be right; empty if nothing is."""
        if self.method not in METHODS:
            hint = did_you_mean(self.method, METHODS)
            text = f"method: expected one of {', '.join(METHODS)}, got {self.method!r}"
            return f"{text}; {hint}" if hint else text
        if METHODS[self.method] and not self.model:
            return f"model: {self.method} needs a model that drafts, and none is named; add it"
        if self.model and not METHODS[self.method]:
            return f"model: {self.method} needs none, got {self.model!r}; leave it out"
        if not 1 <= self.tokens <= MAX_TOKENS:
            return f"tokens: expected 1 to {MAX_TOKENS} drafted at once, got {self.tokens}"
        return ""
