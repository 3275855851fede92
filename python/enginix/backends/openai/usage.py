"""Reads a server's token counts from its replies."""

from __future__ import annotations

from typing import Any, NamedTuple

from enginix.backends.openai.sse import documents


class ServerUsage(NamedTuple):
    """A count is None if the server does not state it."""

    prompt: int | None = None
    completion: int | None = None
    reasoning: int | None = None


def usage_in(body: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of a document, or of the last event that has them."""
    if b'"usage"' not in body:
        return None
    prompt = completion = None
    for document in documents(body):
        usage = usage_of(document)
        prompt = usage.prompt or prompt
        completion = usage.completion or completion
    return None if completion is None else (prompt or 0, completion)


def usage_of(document: Any) -> ServerUsage:
    if not isinstance(document, dict):
        return ServerUsage()
    for holder in (document, document.get("response"), document.get("message")):
        if isinstance(holder, dict) and isinstance(counts := holder.get("usage"), dict):
            details = counts.get("completion_tokens_details")
            return ServerUsage(
                _count(counts, "prompt_tokens", "input_tokens"),
                _count(counts, "completion_tokens", "output_tokens"),
                _count(details, "reasoning_tokens") if isinstance(details, dict) else None,
            )
    return ServerUsage()


def _count(counts: dict[str, Any], *names: str) -> int | None:
    found = (counts.get(name) for name in names)
    # Some servers send -1 for an unknown count.
    return next((each for each in found if type(each) is int and each >= 0), None)
