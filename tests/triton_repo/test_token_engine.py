"""A step reads nothing twice, and no more than the other requests can wait for."""

from __future__ import annotations

import pytest
from prompt_share import (
    FIRST_PROMPT_SHARE,
    LEAST_PROMPT_SHARE,
    LONG_STEP,
    SMALL_PROMPT_SHARE,
    PromptShare,
)
from token_engine import Slot

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


def test_a_step_that_took_too_long_reads_less_next_time() -> None:
    share = PromptShare(512)
    share.adapt(64, LONG_STEP * 2)
    assert share.tokens == 32


def test_a_step_always_reads_something() -> None:
    share = PromptShare(512)
    share.adapt(64, LONG_STEP * 1000)
    assert share.tokens == LEAST_PROMPT_SHARE


def test_quick_steps_read_more_up_to_the_most() -> None:
    share = PromptShare(512)
    for _ in range(20):
        share.adapt(share.tokens, LONG_STEP / 10)
    assert share.tokens == 512


def test_a_small_models_steps_read_whole_blocks() -> None:
    share = PromptShare(512, SMALL_PROMPT_SHARE)
    for _ in range(3):
        share.adapt(share.tokens, LONG_STEP / 10)
    share.adapt(512, LONG_STEP * 3)
    assert share.tokens == 128
    share.adapt(128, LONG_STEP * 3)
    assert share.tokens == SMALL_PROMPT_SHARE


def test_a_short_prompt_says_nothing_about_long_ones() -> None:
    share = PromptShare(512)
    share.adapt(3, LONG_STEP / 10)
    assert share.tokens == FIRST_PROMPT_SHARE


def test_a_most_below_the_least_is_kept_to() -> None:
    share = PromptShare(4)
    share.adapt(4, LONG_STEP * 2)
    assert share.tokens == 4


@pytest.mark.triton
def test_running_requests_share_a_step(watch_engine: WatchEngine) -> None:
    read = watch_engine("none", 0)["read"]
    assert read[:3] == [3 + 3, 1 + 1, 1 + 1]


@pytest.mark.triton
def test_what_a_sequence_has_seen_of_a_prompt_is_not_read_again(watch_engine: WatchEngine) -> None:
    read = watch_engine("none", 0)["read"]
    assert max(read[1:]) == 2
