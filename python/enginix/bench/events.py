"""Reads OpenAI's server-sent events into an Answer.

Every event is parsed: whether it carries a token depends on its content, not on its spelling.
"""

from __future__ import annotations

from typing import Any

import orjson

from enginix.bench.answer import Answer

MAX_SHOWN = 300


class EventReader:
    """Takes the body's bytes in any chunks: `feed(chunk, now)`, then `end()`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._rest = b""

    def feed(self, chunk: bytes, now: float) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now)

    def end(self) -> None:
        """The body is complete; check that the answer is too."""
        answer = self._answer
        if answer.failure:
            return
        if self._rest.strip():
            answer.failure = f"the stream ended inside an event: {_shown(self._rest)}"
        elif not answer.finished:
            answer.failure = "the stream ended before the answer did"
        elif not answer.arrivals:
            answer.failure = "the answer has no token"

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self._answer.finished = True
            return
        try:
            self._chunk(orjson.loads(data), now)
        except (ValueError, AttributeError, TypeError):
            self._fail(f"an event is not a completion chunk: {_shown(data)}")

    def _chunk(self, chunk: dict[str, Any], now: float) -> None:
        if error := chunk.get("error"):
            self._fail(str(error.get("message") if isinstance(error, dict) else error))
        if usage := chunk.get("usage"):
            self._answer.prompt_tokens = usage.get("prompt_tokens")
            self._answer.output_tokens = usage.get("completion_tokens")
            self._details(usage)
        if timings := chunk.get("timings"):
            self._timings(timings)
        choices = chunk.get("choices") or ()
        if any(_has_text(choice) for choice in choices):
            self._answer.arrivals.append(now)
        if any(choice.get("finish_reason") for choice in choices):
            self._answer.finished = True

    def _details(self, usage: dict[str, Any]) -> None:
        answer = self._answer
        prompt = usage.get("prompt_tokens_details") or {}
        answer.cached_tokens = prompt.get("cached_tokens", answer.cached_tokens)
        completion = usage.get("completion_tokens_details") or {}
        accepted = completion.get("accepted_prediction_tokens")
        rejected = completion.get("rejected_prediction_tokens")
        if accepted is not None and rejected is not None:
            answer.accepted_tokens, answer.drafted_tokens = accepted, accepted + rejected

    def _timings(self, timings: dict[str, Any]) -> None:
        """Read llama-server's own counts."""
        answer = self._answer
        answer.cached_tokens = timings.get("cache_n", answer.cached_tokens)
        answer.drafted_tokens = timings.get("draft_n", answer.drafted_tokens)
        answer.accepted_tokens = timings.get("draft_n_accepted", answer.accepted_tokens)

    def _fail(self, why: str) -> None:
        self._answer.failure = self._answer.failure or why[:MAX_SHOWN]


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(
        delta.get("content")
        or delta.get("reasoning_content")
        or delta.get("reasoning")
        or delta.get("tool_calls")
        or choice.get("text")
    )


def _shown(data: bytes) -> str:
    return data[:MAX_SHOWN].decode(errors="replace")
