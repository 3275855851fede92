"""Reads a server's token counts from its replies."""

from __future__ import annotations

from typing import Any, NamedTuple

from enginix.backends.openai.sse import documents


class ServerUsage(NamedTuple):
    """A count is None if the server does not state it."""

    prompt: int | None = None
    completion: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    """Those of the prompt that were in the server's cache."""


def usage_in(body: bytes) -> ServerUsage | None:
    """The counts of a document, or of the last events that have them; None without any."""
    if b'"usage"' not in body:
        return None
    prompt = completion = cached = None
    for document in documents(body):
        usage = usage_of(document)
        prompt = usage.prompt or prompt
        completion = usage.completion or completion
        cached = cached if usage.cached is None else usage.cached
    if prompt is None and completion is None:
        return None
    return ServerUsage(prompt, completion, cached=cached)


def usage_of(document: Any) -> ServerUsage:
    if not isinstance(document, dict):
        return ServerUsage()
    for holder in (document, document.get("response"), document.get("message")):
        if isinstance(holder, dict) and isinstance(counts := holder.get("usage"), dict):
            return ServerUsage(
                _prompt(counts),
                _count(counts, "completion_tokens", "output_tokens"),
                _count(counts.get("completion_tokens_details"), "reasoning_tokens"),
                _cached(document, counts),
            )
    return ServerUsage()


def _prompt(counts: dict[str, Any]) -> int | None:
    """Anthropic's dialect counts what was in the cache, and what was written to it, apart."""
    prompt = _count(counts, "prompt_tokens", "input_tokens")
    apart = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return None if prompt is None else prompt + sum(_count(counts, one) or 0 for one in apart)


def _cached(document: dict[str, Any], counts: dict[str, Any]) -> int | None:
    places = (
        (counts.get("prompt_tokens_details"), "cached_tokens"),
        (counts.get("input_tokens_details"), "cached_tokens"),
        (counts, "cache_read_input_tokens"),
        # Of llama-server, before it had `prompt_tokens_details`.
        (document.get("timings"), "cache_n"),
    )
    found = (_count(holder, name) for holder, name in places)
    return next((each for each in found if each is not None), None)


def _count(counts: Any, *names: str) -> int | None:
    found = (counts.get(name) for name in names) if isinstance(counts, dict) else ()
    # Some servers send -1 for an unknown count.
    return next((each for each in found if type(each) is int and each >= 0), None)
