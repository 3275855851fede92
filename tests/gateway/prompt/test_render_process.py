"""A slow chat template is rendered in a process of its own, to the letter as in the gateway's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import served
from waiting import until

from enginix import process
from enginix.chat.template import ChatTemplate
from enginix.errors import BackendUnavailable, RequestError, TemplateTooSlow
from enginix.gateway.prompt.render_process import RenderProcess

SOURCE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if tools %}{{ tools|tojson }}{% endif %}{% if thinks %}<think>{% endif %}"
    "{% if 'loop' in messages[0].content %}{% for a in range(99999) %}"
    "{% set b = range(9999)|sort %}{% endfor %}{% endif %}"
    "{% if 'no' == messages[0].content %}{{ raise_exception('not that') }}{% endif %}"
)
TEMPLATE = ChatTemplate({"default": SOURCE}, {"bos_token": "<s>"})


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def rendering(**options: float) -> AsyncIterator[RenderProcess]:
    renderer = RenderProcess(**options)
    try:
        yield renderer
    finally:
        await renderer.close()


async def test_the_process_imports_what_the_gateway_does_and_nothing_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('of another program')")
    monkeypatch.chdir(tmp_path)
    # As under Nix, where only a script knows where its packages are.
    monkeypatch.setattr(sys, "executable", os.path.realpath(sys.executable))
    async with rendering() as renderer:
        assert await renderer.render(TEMPLATE, said("Hi")) == "<s><user>Hi"


def children() -> list[int]:
    return [
        pid
        for pid in process.descendants(os.getpid())
        if process.birth_of(pid) and b"enginix.chat.rendering" in _command(pid)
    ]


@pytest.fixture(autouse=True)
async def no_leftovers() -> None:
    """End those of tests before, whose event loops are closed."""
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: not children())


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@pytest.mark.parametrize("text", ["Hi", "", "\u00fc \U0001f600\n", "\ud800", "a" * 200_000])
async def test_the_prompt_is_that_of_the_template(text: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    arguments = said(text, tools=tools, chat_template_kwargs={"thinks": True})
    async with rendering() as renderer:
        assert await renderer.render(TEMPLATE, arguments) == TEMPLATE.render(**arguments)


async def test_a_refusal_is_that_of_the_template() -> None:
    with pytest.raises(RequestError) as here:
        TEMPLATE.render(**said("no"))
    async with rendering() as renderer:
        with pytest.raises(RequestError) as there:
            await renderer.render(TEMPLATE, said("no"))
        assert (str(there.value), there.value.param, there.value.code) == (
            *(str(here.value), here.value.param, here.value.code),
        )
        assert "<user>yes" in await renderer.render(TEMPLATE, said("yes"))


async def test_one_that_computes_for_ever_is_refused_and_the_next_is_rendered() -> None:
    async with rendering() as renderer:
        with pytest.raises(RequestError, match=r"ran for more than 0\.1 s"):
            await renderer.render(TEMPLATE, said("loop", seconds=0.1))
        assert "<user>yes" in await renderer.render(TEMPLATE, said("yes"))


async def test_a_process_that_gives_no_answer_is_ended() -> None:
    async with rendering(seconds=0.5) as renderer:
        with pytest.raises(TemplateTooSlow):
            await renderer.render(TEMPLATE, said("loop", seconds=60))
        await until(lambda: not children())


async def test_a_killed_process_costs_one_request() -> None:
    async with rendering() as renderer:
        waiting = asyncio.create_task(renderer.render(TEMPLATE, said("loop", seconds=60)))
        await until(lambda: bool(children()))
        os.kill(children()[0], signal.SIGKILL)
        with pytest.raises(BackendUnavailable, match="send the request again"):
            await waiting
        assert "<user>yes" in await renderer.render(TEMPLATE, said("yes"))


async def test_a_client_that_leaves_takes_no_answer_of_the_next_one() -> None:
    async with rendering() as renderer:
        gone = asyncio.create_task(renderer.render(TEMPLATE, said("loop", seconds=1)))
        await until(lambda: bool(children()))
        gone.cancel()
        await asyncio.wait([gone])
        assert "<user>yes" in await renderer.render(TEMPLATE, said("yes"))


async def test_requests_at_once_are_rendered_one_after_the_other_in_one_process() -> None:
    async with rendering() as renderer:
        asked: list[Awaitable[str]] = [
            renderer.render(TEMPLATE, said(f"{number}")) for number in range(20)
        ]
        prompts = await asyncio.gather(*asked)
        assert prompts == [f"<s><user>{number}" for number in range(20)]
        assert len(children()) == 1


async def test_an_idle_process_ends() -> None:
    async with rendering(idle_seconds=0.05) as renderer:
        await renderer.render(TEMPLATE, said("yes"))
        await until(lambda: not children())
        assert "<user>again" in await renderer.render(TEMPLATE, said("again"))


async def test_a_models_process_ends_with_the_model() -> None:
    model = served(FakeBackend())
    assert await model.render_process.render(TEMPLATE, said("Hi")) == "<s><user>Hi"
    await model.close()
    assert not children()
