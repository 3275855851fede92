"""What one response teaches the readers of the next ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triton.client.test_messages import contents, response

from enginix.generation.request import TokenChunk
from enginix.triton.client.responses import MAX_KNOWN, Layouts, Reader, read_chunk

request_ids = st.sampled_from(["", "m", "model", "chat-1", "chat-2", "ch\u00e4t-", "chat-10"])


def is_taken(reader: Reader, message: bytes) -> bool:
    """Whether it is read without protobuf."""
    return reader.offering(lambda ids: True)([message])


def first_reuse(chunks: list[TokenChunk]) -> int | None:
    return next((one.reused_blocks for one in chunks if one.reused_blocks is not None), None)


@given(st.lists(st.tuples(request_ids, st.lists(contents, max_size=5)), max_size=8))
def test_what_one_response_has_taught_reads_others_as_protobuf_does(
    responses: list[tuple[str, list[dict[str, Any]]]],
) -> None:
    layouts = Layouts()
    for request_id, each in responses:
        sent = [response(**content, request_id=request_id) for content in each]
        found = Reader(request_id, layouts).read(sent)
        expected = [read_chunk(one) for one in sent]
        assert found[:1] == expected[:1]
        assert first_reuse(found) == first_reuse(expected)
        assert [one._replace(reused_blocks=None) for one in found] == [
            one._replace(reused_blocks=None) for one in expected
        ]


def test_a_response_reads_its_second_message_as_another_response_was_read() -> None:
    layouts = Layouts()
    Reader("chat-1", layouts).read([response([7], request_id="chat-1")])
    later = Reader("chat-2", layouts)
    later.read([response([8], reused=3, request_id="chat-2")])
    assert is_taken(later, response([9], request_id="chat-2"))


@pytest.mark.parametrize("before", [[], [7, 8]])
def test_statistics_that_come_late_are_read(before: list[int]) -> None:
    layouts = Layouts()
    Reader("chat-1", layouts).read([response([7], reused=0, request_id="chat-1")])
    sent = [response(before, request_id="chat-2"), response([7], reused=5, request_id="chat-2")]
    chunks = Reader("chat-2", layouts).read(sent)
    assert first_reuse(chunks) == 5


def test_what_other_responses_have_taught_leaves_room_for_what_a_response_is_like() -> None:
    """As after a reload, of a model that now sends other tensors."""
    layouts = Layouts()
    for count in range(1, MAX_KNOWN + 1):
        Reader("chat-1", layouts).read([response([7] * count, request_id="chat-1")])
    for request_id in ("chat-2", "chat-3"):
        reader = Reader(request_id, layouts)
        reader.read([response([8], request_id=request_id, name="other")])
        assert is_taken(reader, response([9], request_id=request_id, name="other"))


def test_what_many_responses_learn_at_the_same_time_is_kept_once() -> None:
    layouts = Layouts()
    ids = [f"chat-{number}" for number in range(MAX_KNOWN + 1)]
    readers = [Reader(request_id, layouts) for request_id in ids]
    for tokens in ([7], [7, 8]):
        for request_id, reader in zip(ids, readers, strict=True):
            reader.read([response(tokens, request_id=request_id)])
    later = Reader("chat-x", layouts)
    later.read([response([7, 8], request_id="chat-x")])
    assert is_taken(later, response([9], request_id="chat-x"))
