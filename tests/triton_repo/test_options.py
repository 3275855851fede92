"""Every sampling option of TensorRT-LLM does what it says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from enginix.errors import GenerationFailed
from enginix.triton.client.client import Guide
from tests.triton_repo.conftest import CAPITAL_OF_FRANCE, END, Asker

pytestmark = pytest.mark.triton

PARIS = 1966


async def test_a_seed_gives_the_same_answer_again(ask: Asker) -> None:
    first = await ask(temperature=2.0, seed=7)
    assert (await ask(temperature=2.0, seed=7)).ids == first.ids


async def test_another_seed_gives_another_answer(ask: Asker) -> None:
    answers = [await ask(temperature=2.0, seed=seed) for seed in range(5)]
    assert len({tuple(answer.ids) for answer in answers}) > 1


async def test_all_64_bits_of_a_seed_count(ask: Asker) -> None:
    low, high = [await ask(temperature=2.0, seed=seed) for seed in (1, 1 + (5 << 32))]
    assert low.ids != high.ids


async def test_without_a_seed_answers_differ(ask: Asker) -> None:
    answers = [await ask(temperature=5.0) for _ in range(5)]
    assert len({tuple(answer.ids) for answer in answers}) > 1


@pytest.mark.parametrize("option", [{"top_k": 1}, {"top_p": 0.01}, {"min_p": 0.99}])
async def test_an_option_that_leaves_one_token_is_greedy(
    ask: Asker, option: dict[str, Any]
) -> None:
    greedy = await ask()
    assert (await ask(temperature=3.0, seed=3, **option)).ids == greedy.ids


async def test_log_probabilities_come_with_every_token(ask: Asker) -> None:
    answer = await ask(logprobs=True)
    assert len(answer.logprobs) == len(answer.ids)
    # The model is sure of what it has learned by heart.
    assert all(-0.1 < logprob <= 0.0 for logprob in answer.logprobs)


async def test_the_likeliest_tokens_come_with_every_token_the_likeliest_first(ask: Asker) -> None:
    answer = await ask(logprobs=True, top_logprobs=5)
    assert len(answer.top) == len(answer.ids)
    for token, logprob, top in zip(answer.ids, answer.logprobs, answer.top, strict=True):
        assert len(top) == 5
        assert top[0] == (token, logprob)
        assert [each for _, each in top] == sorted((each for _, each in top), reverse=True)


async def test_more_likeliest_tokens_than_twenty_are_refused(ask: Asker) -> None:
    with pytest.raises(GenerationFailed, match="top_logprobs is 21; expected 0 to 20"):
        await ask(logprobs=True, top_logprobs=21)


async def test_log_probabilities_are_those_of_a_distribution(ask: Asker) -> None:
    # The most probable token, then all others with it forbidden, one after the other.
    forbidden: dict[int, float] = {}
    total = 0.0
    for _ in range(5):
        answer = await ask(max_tokens=1, logprobs=True, logit_bias=forbidden, end_id=None)
        rest = 1.0 - total
        total += rest * math.exp(answer.logprobs[0])
        forbidden[answer.ids[0]] = -1000.0
    assert 0.99 < total <= 1.0 + 1e-6


async def test_an_answer_does_not_end_before_its_least_length(ask: Asker) -> None:
    answer = await ask(min_tokens=20, max_tokens=40)
    assert len(answer.ids) >= 20
    assert END not in answer.ids[:20]


async def test_least_length_keeps_every_stop_token_away(ask: Asker) -> None:
    answer = await ask(min_tokens=20, max_tokens=40, stop_ids=[PARIS])
    assert PARIS not in answer.ids[:20]


async def test_further_stop_tokens_end_an_answer(ask: Asker, evals: list[dict[str, Any]]) -> None:
    expected = evals[CAPITAL_OF_FRANCE]["answer_ids"]
    answer = await ask(stop_ids=[PARIS])
    assert answer.ids == expected[: expected.index(PARIS)]


async def test_a_bias_forbids_and_forces_tokens(ask: Asker) -> None:
    answer = await ask(max_tokens=5, logit_bias={440: -100.0, 7: 100.0})
    assert answer.ids == [7] * 5


async def test_a_repetition_penalty_counts_the_prompt(ask: Asker) -> None:
    greedy, penalized = await ask(), await ask(repetition_penalty=5.0)
    assert greedy.ids[1] in (await prompt_of(ask))
    assert penalized.ids[1] != greedy.ids[1]


@pytest.mark.parametrize("option", [{"presence_penalty": 5.0}, {"frequency_penalty": 5.0}])
async def test_penalties_of_the_answer_do_not_count_the_prompt(
    ask: Asker, option: dict[str, float]
) -> None:
    greedy, penalized = await ask(end_id=None), await ask(end_id=None, **option)
    assert penalized.ids[:9] == greedy.ids[:9]
    assert len(set(penalized.ids)) > len(set(greedy.ids))


async def prompt_of(ask: Asker) -> list[int]:
    found: list[int] = ask._evals[CAPITAL_OF_FRANCE]["prompt_ids"]
    return found


async def test_a_guide_and_a_bias_against_it_still_end(ask: Asker) -> None:
    answer = await ask(guide=Guide("regex", "[ab]"), min_tokens=20, logit_bias={64: -1e30})
    assert len(answer.ids) == 1
