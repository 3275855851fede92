"""Reads servers' streams in any chunks."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginix.bench.answer import Answer
from enginix.bench.events import EventReader


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def stream(*chunks: dict[str, Any] | str) -> bytes:
    events = [each if isinstance(each, str) else json.dumps(each) for each in chunks]
    return "".join(f"data: {event}\n\n" for event in events).encode()


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
WHOLE = stream(
    ROLE,
    chunk({"reasoning_content": "Hm."}),
    chunk({"content": "Hé"}),
    chunk({"content": "llo"}),
    STOP,
    USAGE,
    "[DONE]",
)


def read(*pieces: bytes) -> Answer:
    """Each chunk arrives a second after the previous one."""
    answer = Answer()
    reader = EventReader(answer)
    for now, piece in enumerate(pieces):
        reader.feed(piece, float(now))
    reader.end()
    return answer


def test_only_events_with_text_are_timed() -> None:
    events = [event + b"\n\n" for event in WHOLE.split(b"\n\n")[:-1]]

    assert read(*events).arrivals == [1.0, 2.0, 3.0]


def test_tokens_are_the_servers_count() -> None:
    answer = read(WHOLE)

    assert (answer.prompt_tokens, answer.tokens, answer.failure) == (5, 4, None)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"usage": {"prompt_tokens_details": {"cached_tokens": 3}}}, (3, None, None)),
        ({"usage": {"prompt_tokens_details": None}}, (None, None, None)),
        (
            {
                "usage": {
                    "completion_tokens_details": {
                        "accepted_prediction_tokens": 6,
                        "rejected_prediction_tokens": 2,
                    }
                }
            },
            (None, 8, 6),
        ),
        ({"timings": {"cache_n": 5, "draft_n": 9, "draft_n_accepted": 4}}, (5, 9, 4)),
        ({"timings": {"prompt_n": 1}}, (None, None, None)),
    ],
)
def test_cached_and_drafted_tokens_are_those_the_server_tells(
    last: dict[str, Any], said: tuple[int | None, ...]
) -> None:
    answer = read(stream(chunk({"content": "a"}), {"choices": [], **last}, "[DONE]"))

    assert answer.failure is None
    assert (answer.cached_tokens, answer.drafted_tokens, answer.accepted_tokens) == said


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_chunks_may_end_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in pairwise(places)]

    answer = read(*pieces)

    assert (len(answer.arrivals), answer.tokens, answer.failure) == (3, 4, None)


@pytest.mark.parametrize(
    "said",
    [
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"reasoning": "Hm."},
        {"content": " "},
    ],
)
def test_every_kind_of_output_counts(said: dict[str, Any]) -> None:
    assert len(read(stream(chunk(said), STOP)).arrivals) == 1


def test_text_completions_are_read_too() -> None:
    text = {"choices": [{"text": "Paris", "finish_reason": "length"}]}

    assert read(stream(text)).failure is None


def test_lines_may_end_as_in_http() -> None:
    assert read(WHOLE.replace(b"\n", b"\r\n")).failure is None


def test_comments_and_names_of_events_are_passed_over() -> None:
    assert read(b": ping\n\nevent: message\n" + WHOLE).failure is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (stream(ROLE, chunk({"content": "Hel"})), "the stream ended before the answer did"),
        (WHOLE[:100], "the stream ended inside an event"),
        (stream(ROLE, STOP, "[DONE]"), "the answer has no token"),
        (stream(chunk({"content": "a"}), {"error": {"message": "out of memory"}}), "out of memory"),
        (stream({"error": "gone"}), "gone"),
        (stream("<html>"), "an event is not a completion chunk: <html>"),
        (stream("[1]"), "an event is not a completion chunk: [1]"),
        (b'{"choices": []}', "the stream ended inside an event"),
        (b"", "the stream ended before the answer did"),
    ],
)
def test_an_incomplete_answer_is_a_failure(body: bytes, why: str) -> None:
    failure = read(body).failure

    assert failure
    assert failure.startswith(why)
