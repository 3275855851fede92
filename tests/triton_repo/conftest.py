"""Makes the `tensorrt_llm` model's own modules importable, and the real server easy to ask."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from enginix.catalog.load import find_model
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import Sampling, TokenRequest, TritonClient
from tests.conftest import RunningTriton

MODEL = Path(__file__).parents[2] / "triton-repo" / "gguf" / "tensorrt_llm" / "1"
sys.path.insert(0, str(MODEL))

CAPITAL_OF_FRANCE = 0
END = 2014


@dataclass(frozen=True)
class Answer:
    ids: list[int]
    logprobs: list[float]
    top: list[tuple[tuple[int, float], ...]]
    sizes: list[int]
    """Tokens of each response."""


class Asker:
    """Asks the demo model with one of the recorded prompts, or with any."""

    def __init__(self, client: TritonClient, evals: list[dict[str, Any]]) -> None:
        self.client = client
        self._evals = evals

    async def __call__(
        self,
        prompt: int | Sequence[int] = CAPITAL_OF_FRANCE,
        max_tokens: int = 30,
        *,
        end_id: int | None = END,
        stop_ids: Sequence[int] = (),
        logprobs: bool = False,
        top_logprobs: int = 0,
        **sampling: Any,
    ) -> Answer:
        ids = self._evals[prompt]["prompt_ids"] if isinstance(prompt, int) else prompt
        request = TokenRequest(
            ids,
            max_tokens,
            end_id,
            stop_ids,
            Sampling(**sampling),
            logprobs=logprobs,
            top_logprobs=top_logprobs,
        )
        async with aclosing(self.client.generate(request)) as answer:
            chunks = [chunk async for some in answer for chunk in some]
        return Answer(
            ids=[token for chunk in chunks for token in chunk.ids],
            logprobs=[value for chunk in chunks for value in chunk.logprobs or ()],
            top=[place for chunk in chunks for place in chunk.top],
            sizes=[len(chunk.ids) for chunk in chunks],
        )


WatchEngine = Callable[[str, int], dict[str, Any]]


@pytest.fixture
def watch_engine(runtime: Runtime, demo_engine: Path) -> WatchEngine:
    """Runs watched_engine.py with a fault at a step; returns what it prints."""

    def run(fault: str, step: int) -> dict[str, Any]:
        program = Path(__file__).with_name("watched_engine.py")
        command = [runtime.python, program, MODEL, demo_engine / "model.gguf", fault, step]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture
async def ask(triton_server: RunningTriton, evals: list[dict[str, Any]]) -> AsyncIterator[Asker]:
    client = TritonClient(triton_server.grpc, vocabulary=2048)
    yield Asker(client, evals)
    await client.close()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    directory = find_model("demo").source.directory
    assert directory
    return Tokenizer.from_file(str(directory / "tokenizer.json"))
