"""A chat is made such that a strict server neither refuses it nor answers another question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enginix.errors import RequestError
from enginix.gateway.prompt.defaults import SamplingDefaults
from enginix.gateway.prompt.strict_servers import EDGE_LLM, STRICT, strict_server

ASKED = {"model": "m", "messages": [], "stream": True}


def fitted(**fields: Any) -> dict[str, Any]:
    body = EDGE_LLM.fit({**ASKED, **fields}, thinks=False)
    return {name: value for name, value in body.items() if name not in ASKED}


def test_fields_that_change_no_answer_are_dropped_and_so_is_null() -> None:
    sent = fitted(user="me", store=True, metadata={}, seed=None, min_p=0, stop=["x"])
    assert sent.keys() == {"chat_template_kwargs", "temperature", "top_p", "top_k", "stop"}


@pytest.mark.parametrize("name", ["min_tokens", "guided_json", "repetition_penalty", "min_p"])
def test_fields_that_would_change_it_are_refused_by_name(name: str) -> None:
    with pytest.raises(RequestError, match=f"TensorRT Edge-LLM, .* {name}; leave it out") as raised:
        fitted(**{name: 1.5})
    assert raised.value.param == name


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        # Its own are 0.7, 0.9 and 50; with 1, 1 and 0 it would always take the likeliest token.
        ({}, (1.0, 0.99999, 0)),
        ({"temperature": 0.5}, (0.5, 0.99999, 0)),
        ({"temperature": 0.5, "top_k": 20}, (0.5, 1.0, 20)),
        ({"top_p": 0.9, "top_k": -1}, (1.0, 0.9, -1)),
        ({"temperature": 0, "top_p": 0.9}, (0, None, None)),
        ({"top_p": 0}, (0, None, None)),
    ],
)
def test_sampling_is_always_spelled_out_so_that_it_samples(
    fields: dict[str, Any], sampling: tuple[float | None, ...]
) -> None:
    sent = fitted(**fields)
    assert tuple(sent.get(name) for name in ("temperature", "top_p", "top_k")) == sampling


def test_a_models_own_defaults_are_those_of_its_engine() -> None:
    own = replace(EDGE_LLM, defaults=SamplingDefaults(temperature=0.6, top_p=0.95, top_k=20))
    sent = own.fit(ASKED, thinks=False)
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.6, 0.95, 20)


@pytest.mark.parametrize(
    ("fields", "thinks", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, True, False),
        ({"chat_template_kwargs": {"thinking": False}}, True, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, False, True),
    ],
)
def test_whether_the_model_thinks_is_always_said(
    fields: dict[str, Any], thinks: bool, expected: bool
) -> None:
    body = EDGE_LLM.fit({**ASKED, **fields}, thinks=thinks)
    assert body["chat_template_kwargs"] == {"enable_thinking": expected}


def test_an_answer_gets_what_the_longest_prompt_leaves_and_never_more_than_the_context() -> None:
    server = replace(EDGE_LLM, context=8192, answer=2048)
    assert server.fit(ASKED, thinks=False)["max_tokens"] == 2048
    asked = server.fit({**ASKED, "max_completion_tokens": 32000}, thinks=False)
    assert asked["max_completion_tokens"] == 8192
    assert "max_tokens" not in asked


def test_an_engine_elsewhere_has_the_rules_and_no_numbers_and_other_servers_have_none() -> None:
    assert strict_server("edge-llm", "/nowhere") == EDGE_LLM
    assert strict_server("vllm", "/nowhere") is None
    assert [*STRICT] == ["edge-llm"]
