"""A guided answer keeps to its guide, whatever the model would rather say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer

from enginix.errors import GenerationFailed
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import Guide
from tests.triton_repo.conftest import MODEL, Asker

pytestmark = pytest.mark.triton

CITY = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome"]},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
        "big": {"type": "boolean"},
    },
    "required": ["city", "size", "big"],
    "additionalProperties": False,
}
PHONE = "[0-9]{3}-[a-z]{2,8}"


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
async def test_a_json_schema_is_kept_to(
    temperature: float, ask: Asker, tokenizer: Tokenizer
) -> None:
    guide = Guide("json_schema", json.dumps(CITY))
    answer = await ask(max_tokens=200, temperature=temperature, seed=1, guide=guide)
    found = json.loads(tokenizer.decode(answer.ids))
    assert found["city"] in ("Paris", "Rome")
    assert found.keys() == CITY["properties"].keys()


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
async def test_a_regular_expression_is_kept_to(
    temperature: float, ask: Asker, tokenizer: Tokenizer
) -> None:
    answer = await ask(temperature=temperature, seed=1, guide=Guide("regex", PHONE))
    assert re.fullmatch(PHONE, tokenizer.decode(answer.ids))


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
async def test_a_grammar_is_kept_to(temperature: float, ask: Asker, tokenizer: Tokenizer) -> None:
    guide = Guide("ebnf_grammar", 'root ::= animal+\nanimal ::= "cat" | "dog"')
    answer = await ask(temperature=temperature, seed=1, guide=guide, max_tokens=40)
    assert re.match("(cat|dog)+", tokenizer.decode(answer.ids))


async def test_any_json_is_an_object(ask: Asker, tokenizer: Tokenizer) -> None:
    answer = await ask(guide=Guide("json"))
    assert tokenizer.decode(answer.ids).startswith("{")


async def test_a_guided_answer_ends_without_an_end_token_of_the_request(ask: Asker) -> None:
    answer = await ask(max_tokens=50, end_id=None, guide=Guide("regex", "[a-c]{3}"))
    assert 1 <= len(answer.ids) <= 3


async def test_guided_and_free_answers_do_not_disturb_each_other(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    guide = Guide("regex", PHONE)
    free = [await ask() for _ in range(2)]
    guided = await ask(guide=guide)
    assert {tuple(answer.ids) for answer in [*free, await ask()]} == {tuple(free[0].ids)}
    assert (await ask(guide=guide)).ids == guided.ids


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("regex", "[", "no usable regex: .*unclosed character class"),
        ("json_schema", "{", "no usable json_schema: it is not JSON"),
        ("json_schema", "[1]", "expected an object"),
        ("json_schema", '{"type": "objekt"}', "Invalid type: objekt"),
        ("ebnf_grammar", "rot ::= 1", "no usable ebnf_grammar"),
        ("ebnf_grammar", "root ::= root", "no usable ebnf_grammar"),
        ("poem", "x", "expected one of ebnf_grammar, json, json_schema, regex"),
    ],
)
async def test_a_guide_that_is_none_is_refused(
    kind: str, text: str, words: str, ask: Asker
) -> None:
    with pytest.raises(GenerationFailed, match=words):
        await ask(guide=Guide(kind, text))


HOSTILE = {
    "bounds the wrong way round": ("ebnf_grammar", 'root ::= "a"{5,1}'),
    "a bound beyond 64 bits": ("ebnf_grammar", 'root ::= "a"{18446744073709551617}'),
    "parentheses without end": ("ebnf_grammar", "root ::= " + "(" * 40_000 + ")" * 40_000),
    "parentheses that are only too deep": (
        "ebnf_grammar",
        "root ::= " + "(" * 200 + '"a"' + ")" * 200,
    ),
    "a billion items": ("json_schema", '{"type": "array", "minItems": 1000000000}'),
    "a schema nested without end": ("json_schema", '{"items":' * 20_000 + "{}" + "}" * 20_000),
    "an unfinished set": ("ebnf_grammar", "root ::= [a"),
    "a rule that is only itself": ("ebnf_grammar", 'root ::= root root | root "a"'),
    "a character that is none": ("ebnf_grammar", 'root ::= "\\uD800"'),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
async def test_a_hostile_guide_is_refused_and_fells_nobody(name: str, ask: Asker) -> None:
    kind, text = HOSTILE[name]
    with pytest.raises(GenerationFailed, match=f"no usable {kind}"):
        await ask(guide=Guide(kind, text))
    assert len((await ask(max_tokens=5, end_id=None)).ids) == 5


AMBIGUOUS = {
    "options that multiply": 'root ::= ("a"?){1000}',
    "options of options": 'root ::= (("a"?){100}){100}',
    "a left recursion": 'root ::= (root "x")? "y"',
    "ten thousand choices": "root ::= " + " | ".join(f'"value {each}"' for each in range(10_000)),
}


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
async def test_an_ambiguous_grammar_costs_others_nothing(name: str, ask: Asker) -> None:
    guided = asyncio.create_task(ask(guide=Guide("ebnf_grammar", AMBIGUOUS[name]), max_tokens=40))
    async with asyncio.timeout(20):
        free = [len((await ask(max_tokens=20, end_id=None)).ids) for _ in range(3)]
        assert (await guided).ids
    assert free == [20, 20, 20]


def nasty(random: Random, depth: int = 0) -> str:
    """An expression of a grammar that may be ambiguous, recursive, enormous or none at all."""
    inner = [nasty(random, depth + 1) for _ in range(random.randint(1, 3))] if depth < 5 else []
    leaves = ('"a"', '""', "[a-c]", "[^x]", ".", "root", "other", "]", '"\\xFF"')
    match random.randint(0, 4):
        case 0 if inner:
            return f"({' | '.join(inner)})"
        case 1 if inner:
            return " ".join(inner)
        case 2 if inner:
            bound = random.choice(["*", "+", "?", "{0,900}", "{900}", "{,}", "{3,1}", "{9000,}"])
            return f"({inner[0]}){bound}"
        case _:
            return random.choice(leaves)


async def test_whatever_grammar_comes_the_model_goes_on(ask: Asker) -> None:
    random = Random(7)
    refusals: list[str] = []
    for _ in range(60):
        grammar = f"root ::= {nasty(random)}\nother ::= {nasty(random)}"
        async with asyncio.timeout(20):
            try:
                await ask(guide=Guide("ebnf_grammar", grammar), max_tokens=8, temperature=2.0)
            except GenerationFailed as error:
                refusals.append(str(error))
    assert 0 < len(refusals) < 60
    assert all("guide" in refusal for refusal in refusals)
    assert len((await ask(max_tokens=5, end_id=None)).ids) == 5


async def test_the_same_guide_starts_anew_for_every_answer(
    ask: Asker, tokenizer: Tokenizer
) -> None:
    guide = Guide("regex", "(one|two) (three|four)")
    answers = await asyncio.gather(*(ask(guide=guide, temperature=2.0, seed=n) for n in range(8)))
    texts = {tokenizer.decode(answer.ids) for answer in answers}
    assert all(re.fullmatch(guide.text, text) for text in texts)


async def test_guides_go_on_after_one_has_ended_the_process_that_tries_them(
    ask: Asker, tokenizer: Tokenizer
) -> None:
    kind, text = HOSTILE["a billion items"]
    with pytest.raises(GenerationFailed, match="takes more than 5 s or 1024 MB"):
        await ask(guide=Guide(kind, text))
    answer = await ask(guide=Guide("regex", "[x-z]{4}"))
    assert re.fullmatch("[x-z]{4}", tokenizer.decode(answer.ids))


GUIDED_ENDS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from llama_model import LlamaModel

ends = json.loads(sys.argv[3])
model = LlamaModel(Path(sys.argv[2]), parallel=1, context=64, threads=1, ends=ends)
guide = model._guides.make("regex", "[0-9]")
digit = next(token for token in range(model.vocabulary_size) if model.spell(token) == b"7")
allowed = []
for token in (digit, None):
    logits = np.zeros(model.vocabulary_size, np.float32)
    guide.constrain(logits)
    allowed.append(np.flatnonzero(np.isfinite(logits)).tolist())
    if token is not None:
        guide.accept(token)
print(json.dumps({"ends": model.ends, "first": allowed[0], "then": allowed[1], "digit": digit}))
"""


def test_a_fulfilled_guide_allows_every_end_that_the_engine_names(
    runtime: Runtime, demo_engine: Path
) -> None:
    # Tokens 5 and 6 are characters: llama.cpp would end nothing with them.
    model = str(demo_engine / "model.gguf")
    command = [str(runtime.python), "-c", GUIDED_ENDS, str(MODEL), model, "[2014, 5, 6, 99999]"]

    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    assert {5, 6, 2014} <= set(found["ends"])
    assert 99999 not in found["ends"]
    assert found["digit"] in found["first"]
    assert not set(found["ends"]) & set(found["first"])
    assert found["then"] == found["ends"]


async def test_choices_that_do_not_exclude_each_other_can_be_kept_to(
    ask: Asker, tokenizer: Tokenizer
) -> None:
    one, two = ({"properties": {name: {"enum": [1]}}, "required": [name]} for name in "ab")
    schema = {"type": "object", "additionalProperties": False, "oneOf": [one, two]}
    closed = {**schema, "properties": {"a": {}, "b": {}}}
    answer = await ask(guide=Guide("json_schema", json.dumps(closed)), max_tokens=200)
    found = json.loads(tokenizer.decode(answer.ids))
    assert 1 in (found.get("a"), found.get("b"))
