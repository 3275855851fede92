"""When llama.cpp fails every client is told, and who can go on does."""

from __future__ import annotations

import pytest

from tests.triton_repo.conftest import WatchEngine

pytestmark = pytest.mark.triton

FIRST_ANSWER_STEP = 3


def test_a_step_that_fails_ends_the_requests_in_it_with_the_reason(
    watch_engine: WatchEngine,
) -> None:
    found = watch_engine("code", FIRST_ANSWER_STEP)
    assert found["running"] == ["llama.cpp could not decode the request (code -2)"] * 2


def test_after_a_step_that_failed_the_others_are_answered_rightly(
    watch_engine: WatchEngine,
) -> None:
    found = watch_engine("code", FIRST_ANSWER_STEP)
    sound = watch_engine("none", 0)
    assert found["waiting"] == found["after"] == sound["after"]


def test_an_engine_that_breaks_answers_everybody_with_the_reason(watch_engine: WatchEngine) -> None:
    found = watch_engine("exception", FIRST_ANSWER_STEP)
    for answer in [*found["running"], found["waiting"], found["after"]]:
        assert answer.startswith("the engine has failed and cannot go on: OSError")
