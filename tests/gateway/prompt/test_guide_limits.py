from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import chat_server, completion, texts
from gateway.harness import ids, served, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import RequestError
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.prompt.guide_limits import check_body, check_guide, check_schema
from enginix.gateway.settings import GuideLimits, RequestLimits
from enginix.generation.request import Guide

LIMITS = GuideLimits()
PASSED_ON = RequestLimits().passed_on


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("kind", "text", "limit"),
    [
        ("json_schema", json.dumps({"type": "array", "minItems": 10**9}), "10000"),
        ("json_schema", json.dumps({"properties": {"a": {"minLength": 1e12}}}), "10000"),
        ("json_schema", json.dumps({"enum": list(range(10_001))}), "10000"),
        ("json_schema", json.dumps(nested(201)), "200"),
        ("json_schema", json.dumps({"enum": ["a" * 300_000]}), "262144"),
        ("json_schema", json.dumps({"anyOf": [{"type": "null"}] * 10_001}), "10000"),
        ("json_schema", json.dumps({"pattern": "a{99999}"}), "10000"),
        ("regex", "(" * 201 + ")" * 201, "200"),
        ("regex", "a{1000000}", "10000"),
        ("regex", "a{3,1}", "at least 3 and at most 1"),
        ("ebnf_grammar", 'root ::= "a"{5,1}', "at least 5 and at most 1"),
        ("ebnf_grammar", 'root ::= "a"{18446744073709551617}', "10000"),
        ("ebnf_grammar", 'root ::= "a"{' + "9" * 5000 + "}", "10000"),
        ("ebnf_grammar", "root ::= " + "(" * 100_000, "200"),
    ],
)
def test_a_guide_beyond_a_limit_is_refused_by_its_name(kind: str, text: str, limit: str) -> None:
    with pytest.raises(RequestError, match=limit) as refused:
        check_guide(Guide(kind, text), LIMITS, "response_format")
    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("json_schema", json.dumps({"type": "array", "items": {"type": "string"}, "minItems": 5})),
        ("json_schema", json.dumps({"maxLength": 100_000})),
        ("json_schema", json.dumps(nested(190))),
        ("json_schema", "{"),
        ("regex", r"\({99999\}|[({99999}]{2}"),
        ("regex", "[]({99999}]"),
        ("ebnf_grammar", 'root ::= "({99999}" [({] # {99999}'),
        ("ebnf_grammar", r'root ::= "\"{99999}" "a"{2,}'),
    ],
)
def test_guides_within_the_limits_pass_as_they_are(kind: str, text: str) -> None:
    check_guide(Guide(kind, text), LIMITS, "response_format")


HUGE = {"type": "array", "minItems": 10**9}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": HUGE}}}, None),
        ({"text": {"format": {"type": "json_schema", "schema": HUGE}}}, "text.format.schema"),
        ({"output_config": {"format": {"schema": HUGE}}}, "output_config.format.schema"),
        ({"output_format": {"schema": HUGE}}, "output_format.schema"),
        ({"structured_outputs": {"json": json.dumps(HUGE)}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": ["a"] * 10_001}}, "structured_outputs.choice"),
        ({"guided_regex": "a{99999}"}, "guided_regex"),
        ({"grammar": 'root ::= "a"{5,1}'}, "grammar"),
        ({"tools": [{"function": {"parameters": HUGE}}]}, "tools[0].function.parameters"),
        ({"tools": [{}, {"input_schema": HUGE}]}, "tools[1].input_schema"),
    ],
)
def test_passthrough_requests_are_checked_in_every_dialect(
    body: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(RequestError, match="cannot be enforced") as refused:
        check_body(body, LIMITS)
    assert refused.value.param == (param or "response_format.json_schema.schema")


@pytest.mark.parametrize("odd", [None, 1, "x", [], {}, [[]], {"json_schema": 3}])
def test_shapes_that_no_dialect_has_are_for_the_other_server_to_judge(odd: Any) -> None:
    for name in ("response_format", "text", "tools", "structured_outputs", "guided_choice"):
        check_body({name: odd}, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        {"guided_json": HUGE},
        {"response_format": {"type": "grammar", "grammar": 'root ::= "a"{5,1}'}},
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": HUGE}}],
            "tool_choice": "required",
        },
    ],
)
async def test_a_guide_beyond_a_limit_never_reaches_an_engine(body: dict[str, Any]) -> None:
    backend = FakeBackend(ids("Hi"))
    async with server(served(backend)) as client:
        answer = await client.post("/v1/chat/completions", json={"messages": user("Hi"), **body})
        free = await client.post(
            "/v1/completions", json={"prompt": "Hi", "guided_regex": "a{99999}"}
        )
    assert (answer.status_code, free.status_code) == (400, 400)
    assert not backend.asked


def held(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"enum": list(range(1001))}, "1000"),
        ({"oneOf": [{"const": each} for each in range(1001)]}, "1000"),
        ({"type": "string", "pattern": "[a-z]*" * 201}, "200 of"),
        ({"enum": ["a" * 1000] * 66}, "65536"),
        ({"properties": {"k" * 70_000: {}}}, "65536"),
    ],
)
def test_a_server_that_compiles_guides_itself_has_lower_limits(schema: Any, limit: str) -> None:
    with pytest.raises(RequestError, match=limit):
        check_body(held(schema), PASSED_ON)
    check_schema(schema, LIMITS, "response_format")


def test_a_regular_expression_may_have_fewer_quantifiers_than_a_grammar() -> None:
    many = "[a-z]*" * 501
    with pytest.raises(RequestError, match="more than 500 of"):
        check_guide(Guide("regex", many), LIMITS, "guided_regex")
    with pytest.raises(RequestError, match="more than 500 of"):
        check_schema({"type": "string", "pattern": many}, LIMITS, "response_format")
    check_guide(Guide("ebnf_grammar", f"root ::= {many}"), LIMITS, "guided_grammar")


def test_groups_and_escaped_signs_are_not_quantifiers() -> None:
    pattern = r"(?:a)\*[*+?]" * 300
    check_body(held({"type": "string", "pattern": pattern}), PASSED_ON)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_a_guide_beyond_a_limit_is_refused_in_every_dialect(path: str) -> None:
    form = {"type": "json_schema", "name": "x", "schema": HUGE}
    body = {
        **held(HUGE),
        "text": {"format": form},
        "output_config": {"format": form},
        "messages": user("Hi"),
        "input": "Hi",
        "max_tokens": 5,
    }
    async with chat_server(completion(*texts("Hello"))) as (stand_in, url):
        backend = OpenAIBackend("theirs", url, "theirs")
        model = PassthroughModel("ours", backend, "vllm", reasoning="think-tags")
        async with server(model) as client:
            answer = await client.post(path, json=body)
        assert answer.status_code == 400
        assert "cannot be enforced" in answer.text
        assert not stand_in.asked_at("/v1/chat/completions")
