"""Every server's way to count the tokens that its cache held is read, and nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from enginix.backends.openai.usage import ServerUsage, usage_in, usage_of

OPENAI = {"prompt_tokens": 9, "completion_tokens": 2}
RESPONSES = {"input_tokens": 9, "output_tokens": 2}


@pytest.mark.parametrize(
    ("document", "cached"),
    [
        ({"usage": OPENAI}, None),
        ({"usage": {**OPENAI, "prompt_tokens_details": None}}, None),
        ({"usage": {**OPENAI, "prompt_tokens_details": {"audio_tokens": 1}}}, None),
        ({"usage": {**OPENAI, "prompt_tokens_details": {"cached_tokens": 0}}}, 0),
        ({"usage": {**OPENAI, "prompt_tokens_details": {"cached_tokens": 4}}}, 4),
        ({"usage": {**OPENAI, "prompt_tokens_details": {"cached_tokens": -1}}}, None),
        ({"usage": {**OPENAI, "prompt_tokens_details": {"cached_tokens": "4"}}}, None),
        ({"usage": OPENAI, "timings": {"cache_n": 4, "prompt_n": 5}}, 4),
        ({"usage": OPENAI, "timings": [4]}, None),
        ({"response": {"usage": {**RESPONSES, "input_tokens_details": {"cached_tokens": 4}}}}, 4),
    ],
)
def test_cached_tokens_are_read_where_a_server_states_them(
    document: dict[str, Any], cached: int | None
) -> None:
    assert usage_of(document) == ServerUsage(9, 2, None, cached)


def test_anthropics_dialect_counts_the_cached_part_of_a_prompt_apart() -> None:
    counts = {"input_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    message = {"message": {"usage": {**counts, "output_tokens": 1}}}
    assert usage_of(message) == ServerUsage(9, 1, None, 3)


def test_a_stream_may_state_its_counts_in_several_events() -> None:
    start = {"message": {"usage": {"input_tokens": 6, "cache_read_input_tokens": 3}}}
    events = [start, {"usage": {"output_tokens": 2}}]
    stream = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    assert usage_in(stream) == ServerUsage(9, 2, None, 3)
