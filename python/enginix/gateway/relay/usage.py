"""What a server says of its tokens, for the log and the metrics."""

from __future__ import annotations

from typing import Any

from enginix.gateway.models.record import RequestRecord, TokenTimes
from enginix.gateway.relay.rename import documents


def note_usage(body: bytes, record: RequestRecord, times: TokenTimes) -> None:
    """`body`: a whole answer, or the last events of a stream whose events were counted."""
    usage = usage_in(body)
    if usage is None:
        return
    prompt, completion = usage
    record.prompt_tokens = prompt
    missing = completion - times.total
    if missing > 0:
        times.arrived(missing)
    elif -missing <= times.tokens:
        # Not every event was a token: the first and the last ones never are.
        times.total += missing
        times.tokens += missing


def usage_in(body: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of a document, or of the last event that has them."""
    if b'"usage"' not in body:
        return None
    prompt = completion = None
    for document in documents(body):
        counts = counts_of(document)
        prompt = first_number(counts, "prompt_tokens", "input_tokens") or prompt
        completion = first_number(counts, "completion_tokens", "output_tokens") or completion
    return None if completion is None else (prompt or 0, completion)


def counts_of(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        return {}
    for holder in (document, document.get("response"), document.get("message")):
        if isinstance(holder, dict) and isinstance(usage := holder.get("usage"), dict):
            return usage
    return {}


def first_number(counts: dict[str, Any], *names: str) -> int | None:
    found = (counts.get(name) for name in names)
    # Some servers say -1 where they do not know.
    return next((number for number in found if isinstance(number, int) and number >= 0), None)
