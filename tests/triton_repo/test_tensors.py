"""Tensors mean what they mean to TensorRT-LLM, and wrong ones are refused with their name."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.conftest import RunningTriton
from tests.triton_repo.raw import prompt, send, word_list

pytestmark = pytest.mark.triton

IDS = [2013, 1123, 198]


@pytest.fixture
def france(evals: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    return evals[0]["prompt_ids"], evals[0]["answer_ids"]


async def test_without_streaming_one_response_has_the_whole_answer(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    (response,) = await send(triton_server.grpc, prompt(ids, 40, end_id=2014))
    assert response.final
    assert response.tensors["output_ids"] == [[answer[:-1]]]
    assert response.tensors["sequence_length"] == [[len(answer) - 1]]


async def test_the_prompt_is_part_of_the_answer_only_on_request(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    tensors = prompt(ids, 3, exclude_input_in_output=False)
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["output_ids"] == [[ids + answer[:3]]]


async def test_the_last_token_carries_the_final_flag(triton_server: RunningTriton) -> None:
    responses = await send(triton_server.grpc, prompt(IDS, 3, streaming=True))
    assert [response.final for response in responses] == [False, False, True]
    assert [len(response.tensors["output_ids"][0][0]) for response in responses] == [1, 1, 1]


async def test_tokens_are_counted_on_request(triton_server: RunningTriton) -> None:
    tensors = prompt(IDS, 5, return_num_input_tokens=True, return_num_output_tokens=True)
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["num_input_tokens"] == [[3]]
    assert response.tensors["num_output_tokens"] == [[5]]


@pytest.mark.parametrize("streaming", [False, True])
async def test_the_first_response_says_on_request_what_the_cache_held(
    triton_server: RunningTriton, streaming: bool
) -> None:
    ids = [*range(300, 330), int(streaming)]
    tensors = prompt(ids, 3, return_perf_metrics=True, streaming=streaming)
    await send(triton_server.grpc, tensors)
    first, *others = await send(triton_server.grpc, tensors)
    # All but the last token, which is always read again.
    assert first.tensors["kv_cache_reused_blocks"] == [[30]]
    assert all("kv_cache_reused_blocks" not in response.tensors for response in others)


async def test_what_the_cache_held_is_not_said_unasked(triton_server: RunningTriton) -> None:
    (response,) = await send(triton_server.grpc, prompt(IDS, 3))
    assert "kv_cache_reused_blocks" not in response.tensors


async def scored(triton: RunningTriton, ids: list[int], **more: Any) -> list[float]:
    """The log probabilities of a prompt's tokens but the first."""
    tensors = prompt(ids, 1, return_prompt_log_probs=True, **more)
    (response,) = await send(triton.grpc, tensors)
    found: list[float] = response.tensors["prompt_log_probs"][0][0]
    assert len(found) == len(ids) - 1
    return found


async def test_a_prompt_is_scored_as_the_answer_that_it_was(triton_server: RunningTriton) -> None:
    (answer,) = await send(triton_server.grpc, prompt(IDS, 100, return_log_probs=True))
    ids, expected = answer.tensors["output_ids"][0][0], answer.tensors["output_log_probs"][0][0]
    # In several steps, and again where the cache holds it.
    for _ in range(2):
        found = await scored(triton_server, IDS + ids)
        assert found[len(IDS) - 1 :] == pytest.approx(expected, abs=0.05)


async def test_prompts_are_scored_beside_each_other(triton_server: RunningTriton) -> None:
    prompts = [[*range(start, start + 100)] for start in range(300, 900, 100)]
    alone = [await scored(triton_server, ids) for ids in prompts]
    others = [send(triton_server.grpc, prompt(ids, 40, streaming=True)) for ids in prompts]
    together = [scored(triton_server, ids) for ids in prompts]
    _, found = await asyncio.gather(asyncio.gather(*others), asyncio.gather(*together))
    for mine, expected in zip(found, alone, strict=True):
        assert mine == pytest.approx(expected, abs=0.05)


async def test_the_likeliest_tokens_of_a_prompt_come_once(triton_server: RunningTriton) -> None:
    tensors = prompt(IDS, 3, return_prompt_log_probs=True, num_top_log_probs=2, streaming=True)
    first, *others = await send(triton_server.grpc, tensors)
    (top,) = first.tensors["prompt_top_log_prob_ids"][0]
    assert len(top) == 2 * (len(IDS) - 1)
    assert all("prompt_log_probs" not in response.tensors for response in others)


async def test_a_prompt_of_one_token_has_nothing_to_score(triton_server: RunningTriton) -> None:
    assert await scored(triton_server, IDS[:1]) == []


async def test_log_probabilities_add_up(triton_server: RunningTriton) -> None:
    tensors = prompt(IDS, 5, return_log_probs=True, streaming=True)
    responses = await send(triton_server.grpc, tensors)
    each = [response.tensors["output_log_probs"][0][0][0] for response in responses]
    assert responses[-1].tensors["cum_log_probs"][0][0] == pytest.approx(sum(each), rel=1e-4)


async def test_a_stop_word_of_several_tokens_is_not_part_of_the_answer(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    tensors = prompt(ids, 40) | {"stop_words_list": word_list([1, 2, 3], answer[5:7])}
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["output_ids"] == [[answer[:5]]]


async def test_bad_words_do_not_come(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    tensors = prompt(ids, 5) | {"bad_words_list": word_list(answer[2:4], answer[:1])}
    (response,) = await send(triton_server.grpc, tensors)
    found = response.tensors["output_ids"][0][0]
    assert answer[0] not in found
    assert answer[2:4] not in [found[place : place + 2] for place in range(4)]


async def test_empty_word_lists_are_none(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    empty = np.zeros((1, 2, 0), np.int32)
    tensors = prompt(ids, 5) | {"stop_words_list": empty, "bad_words_list": empty}
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["output_ids"] == [[answer[:5]]]


@pytest.mark.parametrize("end_id", [-1, 2048, 2**31 - 1])
async def test_an_end_token_that_the_model_does_not_have_is_none(
    end_id: int, triton_server: RunningTriton
) -> None:
    tensors = prompt(IDS, 5, end_id=end_id, min_tokens=3)
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["sequence_length"] == [[5]]


async def test_padding_after_the_prompts_length_is_ignored(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    tensors = prompt([*ids, 0, 0, 0], 5) | {"input_lengths": np.array([[len(ids)]], np.int32)}
    (response,) = await send(triton_server.grpc, tensors)
    assert response.tensors["output_ids"] == [[answer[:5]]]


async def test_a_request_is_stopped_by_another_with_its_id(triton_server: RunningTriton) -> None:
    endless = asyncio.create_task(
        send(triton_server.grpc, prompt(IDS, 4000, streaming=True), request_id="stop-me")
    )
    stop = prompt(IDS, 1, stop=True)
    while not endless.done():
        await send(triton_server.grpc, stop, request_id="stop-me")
    responses = await endless
    assert len(responses) < 4000
    assert responses[-1].final
    assert responses[-1].tensors["sequence_length"] == [[0]]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (prompt([], 5), "the prompt is empty"),
        (prompt([5000], 5), "this model has 0 to 2047"),
        (prompt([-1], 5), "token ids from -1 to -1"),
        (prompt([1] * 40_960, 5), "prompt and answer together may have 40960"),
        (prompt(IDS, 0), "max_tokens is 0"),
        (prompt(IDS, 5, temperature=float("nan")), "temperature is nan"),
        (prompt(IDS, 5, beam_width=4), "beam_width is 4"),
        (prompt(IDS, 5, num_return_sequences=2), "num_return_sequences is 2"),
        (prompt(IDS, 5, stop=True), "stop needs the id"),
        (
            prompt(IDS, 5) | {"input_lengths": np.array([[9]], np.int32)},
            "input_lengths is 9, but input_ids has 3",
        ),
        (
            prompt(IDS, 5) | {"stop_words_list": np.array([[[1, 2], [2, 1]]], np.int32)},
            "row 1 says words end at",
        ),
        (
            prompt(IDS, 5) | {"stop_words_list": np.array([[[1, 2], [9, -1]]], np.int32)},
            "row 1 says words end at",
        ),
        (
            prompt(IDS, 5) | {"bad_words_list": word_list([7, 2048])},
            r"bad_words_list holds the word \[7, 2048\]",
        ),
        (
            prompt(IDS, 5) | {"embedding_bias": np.zeros((1, 3000), np.float32)},
            "embedding_bias has 3000 values",
        ),
        (
            prompt(IDS, 5) | {"guided_decoding_guide_type": np.array([[b"regex"]], np.object_)},
            "needs a guided_decoding_guide",
        ),
        (
            prompt(IDS, 5) | {"guided_decoding_guide": np.array([[b"x"]], np.object_)},
            "without a guided_decoding_guide_type",
        ),
        (
            prompt(IDS, 5) | {"guided_decoding_guide_type": np.array([[b"\xff"]], np.object_)},
            "is not UTF-8",
        ),
        # What Triton itself refuses.
        ({"input_ids": np.array([IDS], np.int32)}, "expected number of inputs"),
        (prompt(IDS, 5) | {"input_ids": np.array([IDS], np.float32)}, "expects 'INT32'"),
        (prompt(IDS, 5) | {"poem": np.array([[1]], np.int32)}, "unexpected inference input 'poem'"),
    ],
)
async def test_a_wrong_tensor_is_refused_by_name(
    tensors: dict[str, np.ndarray], words: str, triton_server: RunningTriton
) -> None:
    with pytest.raises(InferenceServerException, match=words):
        await send(triton_server.grpc, tensors)


async def test_a_wrong_request_does_not_disturb_the_others(
    triton_server: RunningTriton, france: tuple[list[int], list[int]]
) -> None:
    ids, answer = france
    good = [send(triton_server.grpc, prompt(ids, 40, end_id=2014)) for _ in range(8)]
    bad = [send(triton_server.grpc, prompt([5000], 40)) for _ in range(8)]
    found = await asyncio.gather(*good, *bad, return_exceptions=True)
    assert [one[0].tensors["output_ids"] for one in found[:8]] == [[[answer[:-1]]]] * 8
    assert all(isinstance(one, InferenceServerException) for one in found[8:])
