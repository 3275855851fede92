"""Greedy answers are the recorded ones: alone, many at a time, and without Triton."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL, Answer, Asker

pytestmark = pytest.mark.triton


async def answers(ask: Asker, evals: list[dict[str, Any]], parallel: int) -> list[list[int]]:
    slots = asyncio.Semaphore(parallel)

    async def one(number: int) -> Answer:
        async with slots:
            return await ask(number, len(evals[number]["answer_ids"]), end_id=None)

    found = await asyncio.gather(*(one(number) for number in range(len(evals))))
    return [answer.ids for answer in found]


@pytest.mark.parametrize("parallel", [1, 16])
async def test_every_answer_is_the_recorded_one(
    parallel: int, ask: Asker, evals: list[dict[str, Any]]
) -> None:
    expected = [recorded["answer_ids"] for recorded in evals]
    assert await answers(ask, evals, parallel) == expected


async def test_more_requests_than_slots_are_all_answered(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    found = await asyncio.gather(*(ask(0, end_id=None, max_tokens=5) for _ in range(100)))
    assert [answer.ids for answer in found] == [evals[0]["answer_ids"][:5]] * 100


async def test_every_token_is_a_response_of_its_own(ask: Asker) -> None:
    answer = await ask(max_tokens=7, end_id=None)
    assert answer.sizes == [1] * 7


async def test_the_end_token_is_not_part_of_the_answer(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    answer = await ask()
    assert answer.ids == evals[0]["answer_ids"][:-1]
    assert answer.sizes[-1] == 0


async def test_a_prompt_longer_than_a_step_gives_the_same_answer(
    ask: Asker, evals: list[dict[str, Any]]
) -> None:
    prompt = evals[0]["prompt_ids"] * 40
    alone = await ask(prompt, end_id=None, max_tokens=20)
    others = [ask(number, end_id=None, max_tokens=60) for number in range(1, 8)]
    beside, *_ = await asyncio.gather(ask(prompt, end_id=None, max_tokens=20), *others)
    assert len(prompt) > 512
    assert beside.ids == alone.ids


def generate(runtime: Runtime, engine: Path, lines: str, *options: str) -> list[list[int]]:
    command = [str(runtime.python), str(MODEL / "generate.py"), f"--model={engine / 'model.gguf'}"]
    done = subprocess.run(
        [*command, "--threads=1", *options],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line)["ids"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("parallel", [1, 16])
def test_the_program_gives_every_recorded_answer_in_order(
    parallel: int, runtime: Runtime, demo_engine: Path, evals: list[dict[str, Any]]
) -> None:
    lines = [
        {"prompt_ids": one["prompt_ids"], "max_tokens": len(one["answer_ids"]), "stop_ids": []}
        for one in evals
    ]
    text = "\n".join(map(json.dumps, lines))
    found = generate(runtime, demo_engine, text, f"--parallel={parallel}")
    assert found == [one["answer_ids"] for one in evals]


def test_the_program_ends_an_answer_at_a_stop_token(
    runtime: Runtime, demo_engine: Path, evals: list[dict[str, Any]]
) -> None:
    task = {"prompt_ids": evals[0]["prompt_ids"], "max_tokens": 40, "stop_ids": [2014]}
    assert generate(runtime, demo_engine, json.dumps(task)) == [evals[0]["answer_ids"][:-1]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1 is not JSON"),
        ("{}", "line 1 has no prompt_ids"),
        ('{"prompt_ids": [1], "max_tokens": 0}', "max_tokens is 0"),
        ('{"prompt_ids": [99999], "max_tokens": 1}', "this model has 0 to 2047"),
    ],
)
def test_the_program_refuses_a_bad_line_in_one_sentence(
    line: str, words: str, runtime: Runtime, demo_engine: Path
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        generate(runtime, demo_engine, line)
    assert words in failed.value.stderr
    assert "Traceback" not in failed.value.stderr


def test_the_program_says_that_a_model_is_no_gguf(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        generate(runtime, tmp_path, "")
    assert "is it a whole GGUF file?" in failed.value.stderr


def test_an_answer_ends_where_the_context_does(runtime: Runtime, demo_engine: Path) -> None:
    line = json.dumps({"prompt_ids": [5] * 4090, "max_tokens": 100})
    (answer,) = generate(runtime, demo_engine, line, "--context=4096")
    assert len(answer) == 6
