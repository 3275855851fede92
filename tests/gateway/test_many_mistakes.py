"""Bodies with millions of mistakes, of which one is told: each that pydantic notes takes memory."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import served, server
from pydantic import ValidationError

import enginix.gateway.schema
from enginix.gateway.schema.fields import Schema

MANY = 1000
WRONG: list[Any] = [
    [object()] * MANY,
    [[object()] * MANY],
    {str(number): object() for number in range(MANY)},
]


def schemas(base: type[Schema] = Schema) -> Iterator[type[Schema]]:
    for module in pkgutil.iter_modules(enginix.gateway.schema.__path__, "enginix.gateway.schema."):
        importlib.import_module(module.name)
    for each in base.__subclasses__():
        yield each
        yield from schemas(each)


def mistakes(schema: type[Schema], body: dict[str, Any]) -> int:
    try:
        schema.model_validate(body)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize("schema", sorted(set(schemas()), key=str), ids=lambda each: each.__name__)
def test_no_field_gathers_its_mistakes(schema: type[Schema]) -> None:
    for name, field in schema.model_fields.items():
        for wrong in WRONG:
            assert mistakes(schema, {field.alias or name: wrong}) < MANY / 10, name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"messages": [1, 2]}, "messages[0]: expected an object, got 1"),
        ({"logit_bias": {"1": 1.5, "2": "x"}}, "logit_bias.2: expected a number, got 'x'"),
        ({"logit_bias": ["x"]}, "logit_bias: expected an object, got a list"),
        ({"stop_token_ids": [1, "2", 3.5]}, "stop_token_ids[1]: expected an integer, got '2'"),
    ],
)
async def test_the_first_mistake_is_told(wrong: dict[str, Any], message: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], **wrong}
    async with server(served(FakeBackend())) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
