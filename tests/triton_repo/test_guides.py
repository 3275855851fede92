"""A guided answer keeps to its guide, whatever the model would rather say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from enginix.catalog.load import find_model
from enginix.errors import GenerationFailed
from enginix.runtimes.runtime import Runtime
from enginix.triton.client import Guide
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


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    directory = find_model("demo").source.directory
    assert directory
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


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
