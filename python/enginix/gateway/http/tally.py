"""The usage of a reply."""

from __future__ import annotations

from collections.abc import Sequence

from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.models.record import RequestRecord
from enginix.generation.reply import Finished, ReplyEvent, Usage


class UsageTally:
    """Adds up the counts in the choices' last events."""

    __slots__ = (
        "_cached_tokens",
        "_completion_tokens",
        "_finish_reasons",
        "_prompt_tokens",
        "_reasoning_tokens",
        "_request",
    )

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._prompt_tokens = request.prompt_tokens
        # Prompt -> its cached tokens.
        self._cached_tokens: dict[int, int] = {}
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._finish_reasons: list[str] = []

    def read(self, choice: int, events: Sequence[ReplyEvent]) -> None:
        last = events[-1] if events else None
        if isinstance(last, Finished):
            self._completion_tokens += last.completion_tokens
            self._reasoning_tokens += last.reasoning_tokens
            self._finish_reasons.append(last.reason)
            if last.prompt_tokens is not None:
                self._prompt_tokens = last.prompt_tokens
            if last.cached_tokens is not None:
                prompt = choice * self._request.prompts // self._request.choices
                # One choice's prompt is in the cache for the next: the first one counts.
                least = min(last.cached_tokens, self._cached_tokens.get(prompt, last.cached_tokens))
                self._cached_tokens[prompt] = least

    @property
    def complete(self) -> bool:
        """Whether all choices are."""
        return len(self._finish_reasons) == self._request.choices

    def note(self, record: RequestRecord) -> None:
        record.prompt_tokens = self._prompt_tokens
        record.cached_tokens = self.usage.cached_tokens
        record.finish_reasons = self._finish_reasons

    @property
    def usage(self) -> Usage:
        known = len(self._cached_tokens) == self._request.prompts
        return Usage(
            self._prompt_tokens,
            self._completion_tokens,
            self._reasoning_tokens,
            sum(self._cached_tokens.values()) if known else None,
        )
