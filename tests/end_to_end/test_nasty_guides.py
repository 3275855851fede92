"""Generated hostile schemas and patterns, through the gateway to the real model."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from enginix.process import descendants
from tests.conftest import RunningTriton
from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton
MEMORY_MB = 400
SECONDS = 15


def pattern(chance: Random, depth: int = 0) -> str:
    inner = [pattern(chance, depth + 1) for _ in range(chance.randint(1, 3))] if depth < 4 else []
    match chance.randint(0, 4):
        case 0 if inner:
            return f"({'|'.join(inner)})"
        case 1 if inner:
            return "".join(inner)
        case 2 if inner:
            bound = chance.choice(["*", "+", "?", "{0,900}", "{900}", "{,3}", "{3,1}", "{9000,}"])
            return f"(?:{inner[0]}){bound}"
        case _:
            return chance.choice(["a", ".", "[a-c]", r"\d", "[^x]", r"\b", "^", "$", "(?=a)", "["])


def schema(chance: Random, depth: int = 0) -> Any:
    inner = [schema(chance, depth + 1) for _ in range(chance.randint(1, 3))] if depth < 4 else []
    some = inner[0] if inner else {}
    number = chance.choice([0, 1, -1, 2.5, 9999, 10**9, 1e300, "1", None])
    return chance.choice(
        [
            {"type": chance.choice(["string", "object", "array", "null", "none", ["string", 3]])},
            {"$ref": chance.choice(["#", "#/a", "http://127.0.0.1:1/x", "#/properties/p", 3])},
            {"enum": chance.choice([[], ["a"] * 3, list(range(3000)), [{"a": [1]}], "a"])},
            {"type": "string", "pattern": pattern(chance), "minLength": number},
            {"type": "array", "items": some, "minItems": number, "uniqueItems": True},
            {"type": "object", "properties": {"p": some, "q": {}}, "required": ["p", "zz"]},
            {"type": "object", "patternProperties": {pattern(chance): some}},
            {"allOf": inner, "anyOf": inner, "not": some},
            {"oneOf": [some, some], "if": some, "then": some},
            {"type": "integer", "minimum": number, "maximum": 10**30, "multipleOf": number},
            {"properties": {f"k{each}": some for each in range(200)}, "additionalProperties": some},
            chance.choice([True, False, 3, "x", [], None]),
        ]
    )


def memory_mb(pid: int) -> float:
    """Memory of Triton and its models, without the guide trial, which has its own limit."""
    total = 0
    for each in descendants(pid):
        try:
            command = Path(f"/proc/{each}/cmdline").read_text()
            pages = int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except OSError:
            continue
        total += 0 if "guide_trial" in command else pages
    return total * 4 / 1024


def test_any_guide_ends_in_an_answer_or_a_400_in_bounded_time_and_memory(
    gateway: RunningGateway, triton_server: RunningTriton
) -> None:
    chance = Random(11)
    before = memory_mb(triton_server.pid)
    statuses = []
    with httpx.Client(base_url=gateway.url, timeout=SECONDS) as client:
        for number in range(60):
            guide = (
                {"guided_regex": pattern(chance)}
                if number % 2
                else {"response_format": {"type": "json_schema", "json_schema": {
                    "name": "x", "schema": schema(chance)}}}
            )  # fmt: skip
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 6, **guide}
            answer = client.post("/v1/chat/completions", content=json.dumps(body))
            statuses.append(answer.status_code)
            assert answer.status_code in (200, 400), (body, answer.text)
        question = [{"role": "user", "content": "What is the capital of France?"}]
        last = client.post("/v1/chat/completions", json={"messages": question, "temperature": 0})
    assert "Paris" in last.text
    assert {200, 400} == set(statuses)
    assert memory_mb(triton_server.pid) - before < MEMORY_MB
