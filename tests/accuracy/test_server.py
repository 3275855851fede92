"""A server's perplexity is asked for with echo and log probabilities; who cannot is told apart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fakes.scoring_server import ScoringServer, scoring_server

from enginix.accuracy.evaluation import Evaluation
from enginix.accuracy.measure import PROMPTS, Options, evaluate
from enginix.accuracy.server import ServerTarget
from enginix.accuracy.text import read_text
from enginix.errors import BackendError, BackendUnavailable

TEXT = "A line of text. " * 20


def measured(server: ScoringServer, directory: Path, options: Options | None = None) -> Evaluation:
    path = directory / "text.txt"
    path.write_text(TEXT)
    with ServerTarget(f"{server.url}/v1", "tiny") as target:
        options = options or Options(context=64, stride=32)
        return evaluate(target, read_text(path), options, lambda what, done, total: None)


def test_the_perplexity_of_a_server_is_that_of_all_tokens(tmp_path: Path) -> None:
    with scoring_server(logprob=math.log(1 / 8)) as server:
        found = measured(server, tmp_path)

    assert found.accuracy
    assert found.accuracy.perplexity == 8
    assert found.accuracy.tokens == len(TEXT) - 1
    scored = [body for body in server.asked if body.get("echo")]
    assert {len(body["prompt"]) for body in scored} == {64}
    assert {body["max_tokens"] for body in scored} == {1}


def test_each_window_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    with scoring_server(begins_with=(300,)) as server:
        found = measured(server, tmp_path)

    assert found.accuracy
    assert found.accuracy.tokens == len(TEXT)
    assert all(body["prompt"][0] == 300 for body in server.asked)
    assert sum(body["prompt"].count(300) for body in server.asked) == len(server.asked)


@pytest.mark.parametrize(
    ("echoes", "why"),
    [
        ("refuses", "it answered 400: Only no echo is supported"),
        ("not at all", "it gave 1 where 64 tokens and one more have one each"),
        ("with null", "it gave null for tokens of the prompt"),
    ],
)
def test_a_server_that_cannot_score_a_prompt_is_named(
    echoes: str, why: str, tmp_path: Path
) -> None:
    with scoring_server(echoes=echoes) as server:
        found = measured(server, tmp_path)

    assert found.accuracy is None
    assert found.reason
    assert why in found.reason
    assert "vLLM can" in found.reason
    assert len(found.answers) == len(PROMPTS)


def test_log_probabilities_above_zero_are_none(tmp_path: Path) -> None:
    with scoring_server(logprob=0.5) as server:
        found = measured(server, tmp_path)

    assert found.accuracy is None
    assert found.reason
    assert "it gave 0.5, expected at most 0" in found.reason


def test_an_answer_with_half_a_surrogate_pair_can_be_compared(tmp_path: Path) -> None:
    with scoring_server(answers={PROMPTS[0]: " \ud83d Paris"}) as server:
        found = measured(server, tmp_path)

    assert found.answers[0].text == " ? Paris"


def test_answers_are_greedy_and_compared_as_the_tokenizer_cuts_them(tmp_path: Path) -> None:
    with scoring_server(answers={PROMPTS[0]: " Paris."}) as server:
        found = measured(server, tmp_path)

    first, second, *_ = found.answers
    assert (first.text, first.ids) == (" Paris.", list(b" Paris."))
    assert (second.text, second.ids) == ("!", list(b"!"))
    answered = [body for body in server.asked if not body.get("echo")]
    assert {body["temperature"] for body in answered} == {0}


def test_a_server_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with (
        scoring_server(tokenizes=False) as server,
        pytest.raises(BackendError, match=r"/tokenize answered 404: .*needs a server that"),
    ):
        measured(server, tmp_path)


def test_a_server_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with scoring_server() as server:
        pass
    with pytest.raises(BackendUnavailable, match="no server answers at http://127"):
        measured(server, tmp_path)
