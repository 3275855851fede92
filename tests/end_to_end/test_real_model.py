"""A real language model through the whole stack: ModelOpt's checkpoint, engine, Triton, gateway.

Opt-in, for it needs torch and ModelOpt: `make test-real-model` makes the checkpoint and runs this
file. What it measures it writes to results.json beside the checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import exp
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.made_checkpoint import with_wrong_scales

from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.gguf_header import read_header
from enginix.manifest import read_manifest
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import Sampling, TokenRequest, TritonClient
from tests.conftest import running_triton
from tests.end_to_end.gateway_process import running_gateway

VARIABLE, PYTHON = "ENGINIX_TEST_REAL_MODEL", "ENGINIX_TEST_REAL_MODEL_PYTHON"
MADE, MODELOPT = os.environ.get(VARIABLE), os.environ.get(PYTHON)
pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        not (MADE and MODELOPT), reason=f"{VARIABLE} and {PYTHON} are set by make test-real-model"
    ),
]

TOOLS = Path(__file__).parents[2] / "tools" / "real-model"
TOKENIZE = Path(__file__).parents[1] / "engine" / "gguf" / "llama_tokenize.py"
PROMPTS: list[str] = json.loads((TOOLS / "prompts.json").read_text(encoding="utf-8"))
WINDOW = 512
LONGEST_ANSWER = 64
AT_ONCE = 10

# The engine quantizes activations to 8 bits, transformers does not: logits differ by about 0.1.
# Two tokens whose logits in transformers are closer than this are a tie.
NEAR_TIE = 0.5
PERPLEXITY_TOLERANCE = 0.005


@dataclass(frozen=True)
class RealModel:
    """The served engine, and the measured numbers."""

    made: Path
    engine: Path
    runtime: Runtime
    url: str
    triton: str
    results: dict[str, Any]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.engine)

    def prompt_ids(self, question: str) -> list[int]:
        messages = [{"role": "user", "content": question}]
        text = ChatTemplate.load(self.engine).render(messages, add_generation_prompt=True)
        return self.tokenizer.encode(text)

    def chat(self, question: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/v1/chat/completions", json=chat_body(question), timeout=300
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def reference(self, checkpoint: str, rows: Sequence[Sequence[int]]) -> list[Any]:
        """transformers' logits for token ids, with the bf16 or nvfp4 weights."""
        program = TOOLS / "reference.py"
        return run([str(MODELOPT), str(program), str(self.made / checkpoint)], rows)

    def logprobs(self, rows: Sequence[Sequence[int]], *flags: str) -> list[list[float]]:
        """The engine's own logits, in the runtime that serves it."""
        program, model = TOOLS / "engine_logprobs.py", self.engine / "model.gguf"
        return run([str(self.runtime.python), str(program), str(model), *flags], rows)


def run(command: Sequence[str], rows: Sequence[object]) -> list[Any]:
    lines = "\n".join(map(json.dumps, rows))
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def chat_body(question: str) -> dict[str, Any]:
    return {
        "model": "smollm2",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": LONGEST_ANSWER,
    }


@pytest.fixture(scope="module")
def model(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealModel]:
    made, engine = Path(str(MADE)), tmp_path_factory.mktemp("engines") / "smollm2"
    started = time.monotonic()
    command = [
        *(sys.executable, "-m", "enginix", "engine", "build", f"--checkpoint={made / 'nvfp4'}"),
        *("--name=smollm2", "--kind=gguf", "--max-seq-len=2048", "--max-batch-size=16"),
        f"--out={engine}",
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "splits text in a way of its own" not in built.stderr
    results: dict[str, Any] = {"build_seconds": round(time.monotonic() - started, 1)}
    with running_triton(engine) as triton, running_gateway(engine, triton.grpc) as gateway:
        yield RealModel(made, engine, runtime, gateway.url, triton.grpc, results)
    path = made / "results.json"
    # A run of some of the tests keeps the results of the others.
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**before, **results}, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Answered:
    prompt_ids: list[int]
    ids: list[int]
    text: str


@pytest.fixture(scope="module")
def answers(model: RealModel) -> list[Answered]:
    """The greedy answer to each prompt: its ids from Triton, its text from the gateway."""
    started, tokens, found = time.monotonic(), 0, []
    for question in PROMPTS:
        reply = model.chat(question)
        tokens += reply["usage"]["completion_tokens"]
        found.append(reply["choices"][0]["message"]["content"])
    model.results["tokens_per_second_one_by_one"] = round(tokens / (time.monotonic() - started), 1)
    prompts = [model.prompt_ids(question) for question in PROMPTS]
    ids = asyncio.run(answer_ids(model, prompts))
    return [Answered(*one) for one in zip(prompts, ids, found, strict=True)]


async def answer_ids(model: RealModel, prompts: Sequence[list[int]]) -> list[list[int]]:
    client = TritonClient(model.triton)
    end = model.tokenizer.stop_token_ids[0]
    found = []
    for prompt in prompts:
        request = TokenRequest(prompt, LONGEST_ANSWER, end, (), Sampling(temperature=0.0))
        async with aclosing(client.generate(request)) as answer:
            found.append([token async for some in answer for chunk in some for token in chunk.ids])
    await client.close()
    return found


def test_llama_cpp_tokenizes_like_the_gateway(model: RealModel) -> None:
    texts = [
        *PROMPTS,
        (TOOLS / "text.txt").read_text(encoding="utf-8"),
        "  12345 don't\n\n x\u00e9",
    ]
    program, gguf = TOKENIZE, model.engine / "model.gguf"

    (found,) = run([str(model.runtime.python), str(program), str(gguf)], texts)

    assert read_header(gguf).values["tokenizer.ggml.pre"] == "smollm"
    assert found == [model.tokenizer.encode(text) for text in texts]


def test_perplexity_is_that_of_the_quantized_weights(model: RealModel) -> None:
    ids = model.tokenizer.encode((TOOLS / "text.txt").read_text(encoding="utf-8"))
    rows = [ids[start : start + WINDOW + 1] for start in range(0, len(ids) - 1, WINDOW)]
    found = {
        "bf16_transformers": [row["logprobs"] for row in model.reference("bf16", rows)],
        "nvfp4_transformers": [row["logprobs"] for row in model.reference("nvfp4", rows)],
        "engine": model.logprobs(rows),
        "engine_one_by_one": model.logprobs(rows, "--one-by-one"),
    }
    perplexity = {name: exp(-mean([*chain(*rows)])) for name, rows in found.items()}
    model.results["perplexity"] = {name: round(value, 4) for name, value in perplexity.items()}
    model.results["perplexity"]["tokens"] = len(ids) - 1

    for way in ("engine", "engine_one_by_one"):
        ratio = perplexity[way] / perplexity["nvfp4_transformers"]
        assert ratio == pytest.approx(1, abs=PERPLEXITY_TOLERANCE), model.results


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def judged(model: RealModel, answers: list[Answered]) -> list[dict[str, list[float]]]:
    """transformers' choice for each token of each answer, on the dequantized weights.

    Up to the first token it would not have chosen, that is its own greedy answer.
    """
    found = model.reference("nvfp4", [one.prompt_ids + one.ids for one in answers])
    return [
        {name: values[len(one.prompt_ids) - 1 :] for name, values in row.items()}
        for one, row in zip(answers, found, strict=True)
    ]


def test_greedy_answers_are_those_of_transformers_up_to_near_ties(
    model: RealModel, judged: list[dict[str, list[float]]]
) -> None:
    ties = [first(row["margins"], lambda margin: margin < NEAR_TIE) for row in judged]
    differences = [first(row["gaps"], lambda gap: gap > 0) for row in judged]
    gaps = [*chain(*(row["gaps"] for row in judged))]
    found = {
        "prompts": len(judged),
        "tokens": len(gaps),
        "tokens_until_first_near_tie": sum(ties),
        "equal_of_them": sum(map(min, ties, differences)),
        "tokens_until_first_difference": sum(differences),
        "answers_equal_to_the_end": sum(
            end == len(row["gaps"]) for end, row in zip(differences, judged, strict=True)
        ),
        "tokens_transformers_chooses_too": gaps.count(0),
        "largest_gap_of_the_others": round(max(gaps), 3),
    }
    model.results["agreement"] = found

    assert len(judged) == 50
    assert found["tokens_until_first_near_tie"] > 100, found
    assert found["equal_of_them"] == found["tokens_until_first_near_tie"], found
    assert max(gaps) < NEAR_TIE, found
    assert found["tokens_transformers_chooses_too"] > 0.97 * len(gaps), found


def first(values: Sequence[float], holds: Callable[[float], bool]) -> int:
    """The first index where it is true, or the length."""
    return next((place for place, value in enumerate(values) if holds(value)), len(values))


def test_the_gateways_text_is_that_of_the_tokens(model: RealModel, answers: list[Answered]) -> None:
    assert [one.text for one in answers] == [model.tokenizer.decode(one.ids) for one in answers]


def test_no_answer_holds_a_broken_character(answers: list[Answered]) -> None:
    assert [one.text for one in answers if "\ufffd" in one.text or not one.text.strip()] == []


def test_no_answer_loops_unless_transformers_loops_too(
    model: RealModel, answers: list[Answered], judged: list[dict[str, list[float]]]
) -> None:
    looping = [place for place, one in enumerate(answers) if loop_of(one.ids)]
    model.results["looping_answers"] = len(looping)

    # With greedy decoding a small model repeats itself; the weights are the cause
    # if transformers chooses every token of the loop as well.
    own = [
        answers[place].text
        for place in looping
        if any(judged[place]["gaps"][-loop_of(answers[place].ids) :])
    ]
    assert own == []


def loop_of(ids: Sequence[int], times: int = 4) -> int:
    """How many tokens at the end of the answer repeat one sequence; 0 for no loop."""
    for size in range(1, len(ids) // times + 1):
        if list(ids[-size * times :]) == list(ids[-size:]) * times:
            # The first occurrence led into the loop.
            return size * (times - 1)
    return 0


def test_a_loop_is_detected() -> None:
    assert loop_of([9, 1, 2, 1, 2, 1, 2, 1, 2]) == 6
    assert loop_of([1, 2, 1, 2, 1, 2, 1, 3]) == 0


def test_ten_concurrent_chats_get_the_same_answers_as_ten_sequential_ones(
    model: RealModel, answers: list[Answered]
) -> None:
    async def together() -> list[Any]:
        async with httpx.AsyncClient(timeout=300) as client:
            posts = [
                client.post(f"{model.url}/v1/chat/completions", json=chat_body(question))
                for question in PROMPTS[:AT_ONCE]
            ]
            return [answer.json() for answer in await asyncio.gather(*posts)]

    started = time.monotonic()
    replies = asyncio.run(together())
    tokens = sum(reply["usage"]["completion_tokens"] for reply in replies)
    rate = tokens / (time.monotonic() - started)
    model.results[f"tokens_per_second_{AT_ONCE}_at_once"] = round(rate, 1)

    found = [reply["choices"][0]["message"]["content"] for reply in replies]
    assert found == [one.text for one in answers[:AT_ONCE]]


def test_a_wrong_scale_of_a_real_model_is_caught(runtime: Runtime, tmp_path: Path) -> None:
    """The text that ships tells the two apart, whatever the model."""
    made = Path(str(MADE)) / "nvfp4"
    wrong = with_wrong_scales(made, tmp_path / "wrong")
    command = [
        *(sys.executable, "-m", "enginix", "engine", "build", "--name=smollm2", "--kind=gguf"),
        *("--require-accuracy=ppl<=50", f"--out={tmp_path / 'engine'}"),
    ]

    refused = subprocess.run([*command, f"--checkpoint={wrong}"], capture_output=True, text=True)
    accepted = subprocess.run([*command, f"--checkpoint={made}"], capture_output=True, text=True)

    assert refused.returncode == 1
    assert "on english.txt, expected at most 50; its scales or weights may be" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr
    accuracy = read_manifest(tmp_path / "engine").accuracy
    assert accuracy
    assert 20 < accuracy.perplexity < 40
