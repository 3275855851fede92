"""The page at / in a real browser: every kind of model has its card."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


async def shown(url: str, profile: Path) -> str:
    """The document once its scripts have run."""
    assert BROWSER
    program = await asyncio.create_subprocess_exec(
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
        *("--virtual-time-budget=5000", "--dump-dom", url),
        stdout=PIPE,
        stderr=DEVNULL,
    )
    out, _ = await asyncio.wait_for(program.communicate(), 60)
    return out.decode()


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt install chromium")
async def test_models_of_our_own_and_of_other_servers_are_shown(tmp_path: Path) -> None:
    ours = served(FakeBackend(ids("Hi")))
    theirs = PassthroughModel("qwen", OpenAIBackend("vLLM", "http://127.0.0.1:1", "q"), "vllm")
    async with server(ours, theirs) as client:
        page = await shown(f"{client.base_url}/", tmp_path)
    assert "not answering" in page
    for words in ("demo", "512 tokens", "qwen", "vllm", "cannot be reached"):
        assert words in page
