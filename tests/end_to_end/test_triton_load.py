"""Many requests while their model is killed: each gets an answer or an error."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from enginix.errors import BackendError
from enginix.generation.limits import Limits
from enginix.process import descendants
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.address import parse_addresses
from enginix.triton.client.client import TokenRequest, TritonClient
from enginix.triton.client.control import TritonControl
from tests.conftest import RunningTriton, running_triton

pytestmark = pytest.mark.triton

END = 2014
REQUESTS = 100
AT_ONCE = 16
# A dead stub's streams stay silent for ever, so the client sets its own time limit. Or Triton 24.10
# ends with the stub (`boost::interprocess::lock_exception`), where that held a lock of both.
LIMITS = Limits(first_token=30, next_token=30)
# Where the model is killed: one wave of requests after another waits for so long.
SHORT = Limits(first_token=4, next_token=4)
FAILED = {"BackendTimedOut", "BackendUnavailable", "SafeToRetry", "GenerationFailed"}


def kill_model(server: RunningTriton, model: str) -> None:
    """SIGKILL to the process that runs a model's Python."""
    for pid in descendants(server.pid):
        if f"/{model}/1/model.py".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


async def load_again(server: RunningTriton) -> None:
    control = TritonControl(*parse_addresses(server.grpc))
    await control.unload("tensorrt_llm")
    await control.load("tensorrt_llm")
    await control.close()


async def load(
    evals: list[dict[str, Any]], client: TritonClient, *, kill: Callable[[], None] = lambda: None
) -> Counter[str]:
    """Counts of how the requests ended; `kill` is called once a third of them has an answer."""
    slots = asyncio.Semaphore(AT_ONCE)
    ends: Counter[str] = Counter()

    async def one(recorded: dict[str, Any]) -> None:
        async with slots:
            try:
                right = await ask(client, recorded)
            except BackendError as error:
                ends[type(error).__name__] += 1
            else:
                ends["answered" if right else "wrong"] += 1
                if ends["answered"] == REQUESTS // 3:
                    kill()

    await asyncio.gather(*(one(evals[number % len(evals)]) for number in range(REQUESTS)))
    return ends


async def ask(client: TritonClient, recorded: dict[str, Any]) -> bool:
    """Whether the answer is the recorded one."""
    request = TokenRequest(recorded["prompt_ids"], 400, END)
    async with aclosing(client.generate(request)) as answer:
        ids = [token async for chunks in answer for chunk in chunks for token in chunk.ids]
    return ids == [token for token in recorded["answer_ids"] if token != END]


async def test_a_killed_model_leaves_no_request_hanging_or_half_answered(
    demo_engine: Path, runtime: Runtime, evals: list[dict[str, Any]]
) -> None:
    with running_triton(demo_engine) as server:
        client = TritonClient(server.grpc, limits=SHORT, vocabulary=2048)
        ends = await load(evals, client, kill=lambda: kill_model(server, "tensorrt_llm"))
        assert ends.total() == REQUESTS
        assert ends["answered"] >= REQUESTS // 3
        failed = ends.keys() - {"answered"}
        assert failed
        assert failed <= FAILED
        if "BackendTimedOut" in failed:
            # Triton has not ended.
            await load_again(server)
            patient = TritonClient(server.grpc, limits=LIMITS, vocabulary=2048)
            assert await load(evals, patient) == {"answered": REQUESTS}
            await patient.close()
        await client.close()


async def test_a_killed_model_that_is_loaded_again_answers_every_request(
    demo_engine: Path, runtime: Runtime, evals: list[dict[str, Any]]
) -> None:
    # Killed while idle: it holds no lock of Triton's.
    with running_triton(demo_engine) as server:
        kill_model(server, "tensorrt_llm")
        await load_again(server)
        client = TritonClient(server.grpc, limits=LIMITS, vocabulary=2048)
        assert await load(evals, client) == {"answered": REQUESTS}
        await client.close()


async def test_without_preprocessing_text_is_refused_and_tokens_still_work(
    demo_engine: Path, runtime: Runtime, evals: list[dict[str, Any]]
) -> None:
    with running_triton(demo_engine) as server:
        kill_model(server, "preprocessing")
        url = f"{server.http}/v2/models/ensemble/generate"
        body = {"text_input": "Hello", "max_tokens": 3}
        # Triton retries each for a second, one after another.
        async with httpx.AsyncClient(timeout=60) as http:
            answers = await asyncio.gather(*(http.post(url, json=body) for _ in range(4)))
        assert all("'preprocessing_0_0' is not healthy" in answer.text for answer in answers)
        client = TritonClient(server.grpc, limits=LIMITS, vocabulary=2048)
        async with aclosing(client.generate(TokenRequest(evals[0]["prompt_ids"], 5))) as answer:
            assert [chunk async for chunks in answer for chunk in chunks]
        await client.close()
