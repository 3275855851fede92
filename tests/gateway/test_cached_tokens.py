"""Every dialect says how much of a prompt was in the cache, and nothing where that is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend

from enginix.gateway.models.registry import ServedModel
from tests.gateway.harness import events, ids, served, server, user

HELLO = ids("Hello!")
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"type": "object"}},
}


def stating(
    *blocks: int | None, tokens_per_block: int | None = 1, replies: Sequence[list[int]] = (HELLO,)
) -> ServedModel:
    """A model whose requests find so many blocks in the cache, one after the other."""
    backend = FakeBackend(*replies, reused_blocks=blocks)
    return replace(served(backend), tokens_per_block=tokens_per_block)


async def post(model: ServedModel, path: str, body: Mapping[str, Any]) -> httpx.Response:
    async with server(model) as client:
        answer = await client.post(path, json={"model": "demo", **body})
    assert answer.status_code == 200, answer.text
    return answer


async def chat_usage(model: ServedModel, **more: Any) -> dict[str, Any]:
    body = {"messages": user("Hi"), "reasoning_effort": "none", **more}
    answer = await post(model, "/v1/chat/completions", body)
    if not more.get("stream"):
        usage: dict[str, Any] = answer.json()["usage"]
        return usage
    chunks = [event for event in events(answer.text) if event != "[DONE]"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    last: dict[str, Any] = chunks[-1]["usage"]
    return last


STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("more", [{}, STREAM])
async def test_a_chat_says_what_the_cache_held(more: dict[str, Any]) -> None:
    usage = await chat_usage(stating(5), **more)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}
    assert usage["prompt_tokens"] > 5


@pytest.mark.parametrize("more", [{}, STREAM])
async def test_a_known_zero_is_shown(more: dict[str, Any]) -> None:
    usage = await chat_usage(stating(0), **more)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


@pytest.mark.parametrize("more", [{}, STREAM])
@pytest.mark.parametrize(("blocks", "tokens_per_block"), [(None, 1), (5, None)])
async def test_nothing_is_said_where_it_is_not_known(
    blocks: int | None, tokens_per_block: int | None, more: dict[str, Any]
) -> None:
    usage = await chat_usage(stating(blocks, tokens_per_block=tokens_per_block), **more)
    assert "prompt_tokens_details" not in usage


async def test_blocks_never_count_for_more_than_the_prompt_without_its_last_token() -> None:
    usage = await chat_usage(stating(3, tokens_per_block=64))
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached == usage["prompt_tokens"] - 1


async def test_a_reply_that_a_stop_string_ends_has_its_count_too() -> None:
    usage = await chat_usage(stating(5), stop="!")
    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}


async def test_of_several_choices_the_one_that_found_least_counts() -> None:
    usage = await chat_usage(stating(9, 4, 9), n=3)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}


async def test_a_reply_in_phases_counts_its_first_prompt_only() -> None:
    model = stating(2, 99, replies=[ids("So.</think>"), ids("{}")])
    usage = await chat_usage(model, response_format=SCHEMA, reasoning_effort="high")
    assert len(model.backend.asked) == 2  # type: ignore[attr-defined]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 2}


async def test_the_prompts_of_a_completion_add_up() -> None:
    body = {"prompt": ["one two three", "four five six"], "n": 2}
    answer = await post(stating(3, 2, 4, 1), "/v1/completions", body)
    assert answer.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


async def test_one_prompt_of_which_nothing_is_known_makes_the_sum_unknown() -> None:
    body = {"prompt": ["one two three", "four five six"]}
    answer = await post(stating(2, None), "/v1/completions", body)
    assert "prompt_tokens_details" not in answer.json()["usage"]


async def test_a_message_counts_what_was_cached_apart_from_its_other_input() -> None:
    body = {"messages": user("Hi"), "max_tokens": 9}
    plain = (await post(stating(0), "/v1/messages", body)).json()["usage"]
    cached = (await post(stating(5), "/v1/messages", body)).json()["usage"]
    assert (plain["cache_read_input_tokens"], cached["cache_read_input_tokens"]) == (0, 5)
    assert cached["input_tokens"] == plain["input_tokens"] - 5


async def test_a_streamed_message_says_at_its_end_what_was_cached() -> None:
    body = {"messages": user("Hi"), "max_tokens": 9, "stream": True}
    seen = {
        event["type"]: event
        for event in events((await post(stating(5), "/v1/messages", body)).text)
    }
    start, end = seen["message_start"]["message"]["usage"], seen["message_delta"]["usage"]
    assert "cache_read_input_tokens" not in start
    assert end["cache_read_input_tokens"] == 5
    assert end["input_tokens"] + 5 == start["input_tokens"]


async def test_a_message_of_which_nothing_is_known_says_nothing() -> None:
    body = {"messages": user("Hi"), "max_tokens": 9}
    usage = (await post(stating(None), "/v1/messages", body)).json()["usage"]
    assert "cache_read_input_tokens" not in usage


@pytest.mark.parametrize(("blocks", "shown"), [(5, 5), (None, 0)])
async def test_a_response_always_has_a_number(blocks: int | None, shown: int) -> None:
    answer = await post(stating(blocks), "/v1/responses", {"input": "Hi"})
    assert answer.json()["usage"]["input_tokens_details"]["cached_tokens"] == shown


async def test_the_metrics_add_cached_tokens_up_where_they_are_known() -> None:
    model = stating(None, 5, 3)
    body = {"model": "demo", "messages": user("Hi")}
    name = 'enginix_cached_prompt_tokens_total{model="demo"}'
    async with server(model) as client:
        await client.post("/v1/chat/completions", json=body)
        assert name not in (await client.get("/metrics")).text
        for _ in range(2):
            await client.post("/v1/chat/completions", json=body)
        assert f"{name} 8.0" in (await client.get("/metrics")).text
