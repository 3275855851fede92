"""A server's perplexity is asked for with echo and log probabilities; who cannot is told apart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fakes.scoring_server import ScoringServer, scoring_server

from enginix.accuracy.evaluation import Evaluation
from enginix.accuracy.measure import Options, measure
from enginix.accuracy.server import ServerTarget
from enginix.accuracy.text import read_text
from enginix.errors import BackendError, BackendUnavailable, CannotScore

TEXT = "A line of text. " * 20


def measured(server: ScoringServer, directory: Path, options: Options | None = None) -> Evaluation:
    path = directory / "text.txt"
    path.write_text(TEXT)
    with ServerTarget(f"{server.url}/v1", "tiny") as target:
        options = options or Options(context=64, stride=32)
        return measure(target, read_text(path), options, lambda done, total: None)


def test_the_perplexity_of_a_server_is_that_of_all_tokens(tmp_path: Path) -> None:
    with scoring_server(logprob=math.log(1 / 8)) as server:
        found = measured(server, tmp_path)

    assert found.accuracy.perplexity == 8
    assert found.accuracy.tokens == len(TEXT) - 1
    assert {len(body["prompt"]) for body in server.asked} == {64}
    assert all(body["max_tokens"] == 1 and body["echo"] for body in server.asked)


def test_each_window_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    with scoring_server(begins_with=(300,)) as server:
        found = measured(server, tmp_path)

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
    with scoring_server(echoes=echoes) as server, pytest.raises(CannotScore) as caught:
        measured(server, tmp_path)

    assert why in str(caught.value)
    assert "vLLM can" in str(caught.value)


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
