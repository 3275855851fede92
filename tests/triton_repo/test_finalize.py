"""A model's process gives everything back to Triton before it ends."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.token_triton import TokenTriton, served_repository

from enginix.manifest import read_manifest
from enginix.runtimes.runtime import Runtime
from enginix.triton.client.client import TokenRequest, TritonClient
from enginix.triton.server.repository import RenderOptions, render_repository
from tests.triton_repo.conftest import Asker

pytestmark = pytest.mark.triton

GAUGES = "nv_trt_llm_request_metrics{"

# Triton reads no exit status of a model's process.
SAY_CRASHES = """
import faulthandler, os
faulthandler.enable(os.open({crashes!r}, os.O_WRONLY | os.O_CREAT))
Path({process!r}).write_text(str(os.getpid()))
"""


@dataclass(frozen=True)
class Unloading:
    """A Triton of which a test may unload the model."""

    server: TokenTriton
    crashes: Path
    process: Path

    async def answer(self, evals: list[dict[str, Any]]) -> None:
        client = TritonClient(self.server.address, vocabulary=2048)
        await Asker(client, evals)(max_tokens=5)
        await client.close()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """When the block ends, the model's process, as it is now, ends or has ended."""
        model = os.pidfd_open(int(self.process.read_text()))
        yield
        ended, _, _ = select.select([model], [], [], 30)
        os.close(model)
        assert ended

    def unload(self) -> None:
        """Return when the model's process has ended."""
        with self.ending():
            self.post("unload")

    def post(self, what: str) -> None:
        url = f"{self.server.http}/v2/repository/models/tensorrt_llm/{what}"
        httpx.post(url).raise_for_status()

    def metrics(self) -> str:
        return httpx.get(self.server.metrics).text


@pytest.fixture
def unloading(runtime: Runtime, demo_engine: Path, tmp_path: Path) -> Iterator[Unloading]:
    repository = tmp_path / "repository"
    options = RenderOptions(threads=1)
    render_repository(demo_engine, read_manifest(demo_engine), repository, options)
    crashes, process = tmp_path / "crashes", tmp_path / "process"
    with (repository / "tensorrt_llm" / "1" / "model.py").open("a") as model:
        model.write(SAY_CRASHES.format(crashes=str(crashes), process=str(process)))
    with served_repository(runtime, repository) as server:
        yield Unloading(server, crashes, process)


async def test_a_model_that_has_answered_ends_without_a_crash(
    unloading: Unloading, evals: list[dict[str, Any]]
) -> None:
    await unloading.answer(evals)
    unloading.unload()
    assert unloading.crashes.read_text() == ""


def test_a_model_that_was_unloaded_shows_that_nothing_runs(unloading: Unloading) -> None:
    unloading.unload()
    running = [line for line in unloading.metrics().splitlines() if '"active"' in line]
    assert [line.rpartition(" ")[2] for line in running] == ["0"]


async def test_a_model_that_is_loaded_while_the_former_one_ends_keeps_its_gauges(
    unloading: Unloading, evals: list[dict[str, Any]]
) -> None:
    client = TritonClient(unloading.server.address, vocabulary=2048)
    request = TokenRequest(evals[0]["prompt_ids"], 500)
    with unloading.ending():
        async with aclosing(client.generate(request)) as answer:
            await anext(answer)
            unloading.post("unload")
            unloading.post("load")
    assert GAUGES in unloading.metrics()
    await client.close()
