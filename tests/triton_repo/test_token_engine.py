"""A step reads nothing twice, and no more than the other requests can wait for."""

from __future__ import annotations

import pytest
from engine_request import Slot
from prompt_share import (
    FIRST_PROMPT_SHARE,
    LEAST_PROMPT_SHARE,
    LONE_STEP,
    SHARED_STEP,
    SMALL_PROMPT_SHARE,
    PromptShare,
)

from tests.triton_repo.conftest import WatchEngine


def slot_that_has_seen(*tokens: int) -> Slot:
    slot = Slot(0)
    slot.seen = list(tokens)
    return slot


def test_a_new_sequence_shares_nothing() -> None:
    assert slot_that_has_seen().shared_with([1, 2]) == 0


def test_a_sequence_shares_what_both_begin_with() -> None:
    assert slot_that_has_seen(1, 2, 3).shared_with([1, 2, 4, 3]) == 2


def test_a_sequence_that_has_seen_more_shares_the_whole_prompt() -> None:
    assert slot_that_has_seen(1, 2, 3).shared_with([1, 2]) == 2


def running(most: int, least: int = LEAST_PROMPT_SHARE) -> PromptShare:
    """After a first step, of which it learns nothing."""
    share = PromptShare(most, least)
    share.learn(least, 0, 1.0)
    return share


def share_after(read: int, answers: int, seconds: float, most: int = 512) -> PromptShare:
    share = running(most)
    share.learn(read, answers, seconds)
    return share


def test_nothing_is_known_of_the_first_steps() -> None:
    assert running(512).tokens(0) == running(512).tokens(8) == FIRST_PROMPT_SHARE


def test_the_first_step_after_a_pause_is_short_for_those_who_come_next() -> None:
    share = share_after(64, 0, LONE_STEP / 4)
    share.pause()
    assert share.tokens(answers=0) == LEAST_PROMPT_SHARE
    share.learn(LEAST_PROMPT_SHARE, 0, LONE_STEP)
    assert share.tokens(answers=0) == 256


def test_a_step_with_answers_reads_what_it_can_in_a_tenth_of_a_second() -> None:
    assert share_after(64, 0, SHARED_STEP * 2).tokens(answers=1) == 32


def test_a_step_without_answers_may_take_a_second() -> None:
    assert share_after(64, 0, LONE_STEP / 4).tokens(answers=0) == 256


def test_what_the_answers_alone_take_is_not_the_prompts() -> None:
    share = running(512)
    share.learn(0, 8, 0.25)
    share.learn(32, 8, 0.3125)
    assert share.tokens(answers=8) == 48


def test_answers_beside_a_prompt_take_what_as_many_took_alone() -> None:
    share = running(512)
    share.learn(0, 8, 0.25)
    share.learn(0, 1, 0.01)
    share.learn(32, 7, 0.3125)
    assert share.tokens(answers=7) == 48


def test_answers_that_took_longer_alone_leave_the_prompts_a_cost() -> None:
    share = running(512)
    share.learn(0, 8, 5.0)
    share.learn(64, 8, 1.0)
    assert share.tokens(answers=8) == LEAST_PROMPT_SHARE


def test_a_step_always_reads_something() -> None:
    assert share_after(64, 0, 1000.0).tokens(answers=8) == LEAST_PROMPT_SHARE


def test_quick_steps_read_the_most() -> None:
    assert share_after(64, 0, 1e-6).tokens(answers=8) == 512


def test_a_small_models_steps_read_whole_blocks() -> None:
    share = running(512, SMALL_PROMPT_SHARE)
    share.learn(512, 0, 0.3)
    assert share.tokens(answers=1) == 128


def test_one_slow_step_counts_for_half() -> None:
    share = share_after(64, 0, 0.1)
    share.learn(64, 0, 0.3)
    assert share.tokens(answers=0) == 320


def test_a_short_prompt_says_nothing_about_long_ones() -> None:
    assert share_after(3, 0, 0.01).tokens(answers=0) == FIRST_PROMPT_SHARE


def test_a_most_below_the_least_is_kept_to() -> None:
    assert share_after(4, 0, 1000.0, most=4).tokens(answers=0) == 4


@pytest.mark.triton
def test_running_requests_share_a_step(watch_engine: WatchEngine) -> None:
    read = watch_engine("none", 0)["read"]
    assert read[:3] == [3 + 3, 1 + 1, 1 + 1]


@pytest.mark.triton
def test_what_a_sequence_has_seen_of_a_prompt_is_not_read_again(watch_engine: WatchEngine) -> None:
    read = watch_engine("none", 0)["read"]
    assert max(read[1:]) == 2


@pytest.mark.triton
def test_a_step_has_the_sequences_in_order_whoever_came_first(watch_engine: WatchEngine) -> None:
    # llama.cpp computes 8 sequences one by one otherwise, which takes 1.6 times as long.
    assert all(step == sorted(step) for step in watch_engine("none", 0)["sequences"])
