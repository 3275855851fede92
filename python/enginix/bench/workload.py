"""The chats to measure one model of a server with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.bench.answer import Answer
from enginix.bench.prompts import Messages, from_file, synthetic, words_for
from enginix.bench.target import Target
from enginix.errors import BackendError

# For a request that only counts its prompt's tokens: enough for some text to come out.
PROBE_TOKENS = 8


@dataclass(slots=True)
class Workload:
    target: Target
    model: str
    ignore_eos: bool

    async def ask(self, messages: Messages, max_tokens: int) -> Answer:
        """The answer, successful or failed; never raises."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        return await self.target.ask(self.target.message("/chat/completions", body))

    async def try_to_ignore_eos(self) -> None:
        """Generate exactly the requested length, unless the server refuses the field."""
        self.ignore_eos = True
        answer = await self.ask(next(synthetic(8, seed=3)), PROBE_TOKENS)
        self.ignore_eos = not (answer.failure or "").startswith("HTTP 4")

    async def prompts(self, file: Path | None, tokens: int, seed: int) -> Iterator[Messages]:
        """The prompts of `file`, or random ones of `tokens`, which two requests calibrate.

        Raises BackendError if the server refuses these two.
        """
        if file:
            return from_file(file)

        async def count(messages: Messages) -> int | None:
            answer = await self.ask(messages, PROBE_TOKENS)
            if answer.failure and answer.prompt_tokens is None:
                raise BackendError(f"{self.target.url} fails without any load: {answer.failure}")
            return answer.prompt_tokens

        return synthetic(await words_for(tokens, count), seed)
