"""The page at / in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.browser import BROWSER, MISSING, Tab, browser
from gateway.harness import ids, served, server, user
from gateway.supervised import supervised_model

from enginix.backends.openai.server import OpenAIBackend
from enginix.backends.replicas.openai import ReplicatedOpenAI
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import Settings
from enginix.manifest import Accuracy
from enginix.serve.server_process import State
from enginix.supervision import Configuration
from tests.conftest import free_ports

in_browser = pytest.mark.skipif(BROWSER is None, reason=MISSING)
CHAT = "/v1/chat/completions"
PILL = "document.querySelector('#health').innerText"
KEY = "sk-only-for-tests"


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


@in_browser
async def test_models_of_our_own_and_of_other_servers_are_shown(tmp_path: Path) -> None:
    unmeasured = served(FakeBackend(ids("Hi")))
    accuracy = Accuracy(12.5, "english.txt", "00" * 32, 4000, 512, 256, {})
    ours = replace(unmeasured, manifest=replace(unmeasured.manifest, accuracy=accuracy))
    theirs = PassthroughModel("qwen", OpenAIBackend("vLLM", "http://127.0.0.1:1", "q"), "vllm")
    async with server(ours, theirs) as client:
        page = await shown(f"{client.base_url}/", tmp_path)
    assert "not answering" in page
    measured = "perplexity 12.50 on english.txt"
    for words in ("demo", "512 tokens", measured, "qwen", "vllm", "cannot be reached"):
        assert words in page


@in_browser
async def test_each_replica_of_a_model_is_shown_with_why_it_gets_no_requests(
    tmp_path: Path,
) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
    model = PassthroughModel("qwen", ReplicatedOpenAI("vLLM", urls, "q"), "vllm")
    async with server(model) as client:
        page = await shown(f"{client.base_url}/", tmp_path)
    for url in urls:
        assert f"{url}: gets no requests: the server at {url} cannot be reached" in page


def pill(words: str) -> str:
    """The expression that the page's summary has these words."""
    return f"{PILL}.includes({words!r})"


@asynccontextmanager
async def locked_page(profile: Path) -> AsyncIterator[tuple[Tab, str]]:
    """The page of a gateway with an API key, once it asks for one; and its address."""
    settings = Settings(api_keys=frozenset({KEY}))
    async with (
        server(served(FakeBackend([])), settings=settings) as client,
        browser(profile) as tab,
    ):
        await tab.open(f"{client.base_url}/")
        await tab.until("document.querySelector('#locked').open")
        yield tab, f"{client.base_url}/"


@in_browser
async def test_a_key_is_asked_for_a_wrong_one_told_and_the_right_one_kept(tmp_path: Path) -> None:
    async with locked_page(tmp_path) as (tab, url):
        assert "an API key is needed" in await tab.text("#health")
        await tab.fill("#key", "wrong")
        await tab.press("Enter")
        await tab.until("document.querySelector('#key-error').innerText")
        assert await tab.text("#key-error") == "The server does not know this key."
        await tab.fill("#key", KEY)
        await tab.press("Enter")
        await tab.until(pill("tokens come out"))
        await tab.open(url)
        await tab.until(pill("tokens come out"))
        assert not await tab.run("document.querySelector('#locked').open")
        assert f"Bearer {KEY}" in await tab.text("#snippet")
        assert not tab.faults


@in_browser
async def test_a_dialog_that_was_closed_stays_closed(tmp_path: Path) -> None:
    async with locked_page(tmp_path) as (tab, _):
        await tab.press("Escape")
        await tab.until("!document.querySelector('#locked').open")
        polls = "performance.getEntriesByType('resource').filter(one => /status/.test(one.name))"
        before = await tab.run(f"{polls}.length")
        await tab.until(f"{polls}.length > {before}")
        assert not await tab.run("document.querySelector('#locked').open")
        await tab.click("#unlock")
        await tab.until("document.querySelector('#locked').open")


@in_browser
async def test_a_request_is_stopped_by_its_button(tmp_path: Path) -> None:
    backend = FakeBackend(ids("one two three four"), stops_at=3)
    async with server(served(backend)) as client, browser(tmp_path) as tab:
        body = {"model": "demo", "messages": user("hidden words")}
        asking = asyncio.create_task(client.post(CHAT, json=body, headers={"X-Request-Id": "a/b"}))
        await backend.stuck.wait()
        await tab.open(f"{client.base_url}/")
        await tab.until("document.querySelectorAll('.request').length === 1")
        shown = await tab.text("#requests")
        await tab.click(".request button")
        assert (await asking).status_code == 410
        await tab.until("document.querySelectorAll('.request').length === 0")
        assert "Nothing waits or runs" in await tab.text("body")
    for words in ("demo", "running for", "3 tokens out", CHAT, "from 127.0.0.1", "a/b"):
        assert words in shown
    assert "hidden words" not in shown


@in_browser
async def test_a_model_that_unloads_says_so_at_once_and_can_be_loaded_again(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place, browser(tmp_path / "browser") as tab:
        await tab.open(f"{place.client.base_url}/")
        await tab.until(pill("tokens come out"))
        assert "up " in await tab.text(".facts")
        assert "memory" in await tab.text(".facts")
        endless = {"model": "m", "messages": user("Hi"), "stream": True, "max_tokens": 10**6}
        async with place.client.stream("POST", CHAT, json=endless):
            # By the keyboard.
            await tab.run("document.querySelector('[aria-label=\"unload m\"]').focus()")
            await tab.press("Enter")
            await tab.until(pill("m unloading"))
            assert "1 running request may finish first" in await tab.text(".why")
        await tab.until(pill("nothing is loaded"))
        assert "SIGKILL" not in await tab.text("#models")
        await tab.click("[aria-label='load m']")
        await tab.until(f"/m loading|tokens come out/.test({PILL})")
        assert "failing" not in await tab.run("document.querySelector('#health').className")
        await tab.until(pill("tokens come out"))
        assert not tab.faults


@in_browser
async def test_a_crash_is_told_in_a_sentence_with_the_log_beside_it(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place, browser(tmp_path / "browser") as tab:
        with (tmp_path / "log").open("a") as log:
            log.write("<b>the last thing</b> it wrote\n")
        assert place.server.process.pid is not None
        os.kill(place.server.process.pid, signal.SIGKILL)
        while place.server.restarts == 0 or place.server.process.state is not State.LOADED:
            await place.server.process.change.wait()
        await tab.open(f"{place.client.base_url}/")
        await tab.until(pill("tokens come out"))
        assert "restarted once" in await tab.text(".facts")
        why = await tab.text(".why")
        quoted = await tab.run("document.querySelector('.quoted pre').textContent")
        await tab.click("[aria-label='Log of m']")
        await tab.until("document.querySelector('#log-lines').textContent")
        shown = await tab.text("#log-lines")
        await tab.press("Escape")
        await tab.until("!document.querySelector('#log').open")
    assert why == "restarted: m was killed by SIGKILL; the kernel does that when memory runs out"
    assert "<b>the last thing</b> it wrote" in quoted
    assert "<b>the last thing</b> it wrote" in shown


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "m exited with status 1; its last log lines (/log):\nstarting\nRuntimeError: no room\n"
            "+---+\n| 1 |\n+---+",
            "m exited with status 1: RuntimeError: no room",
        ),
        ("m exited with status 2; its last log lines (/log):\nbye", "m exited with status 2: bye"),
        (
            "m was killed by SIGKILL; its last log lines (/log):\nan error long ago",
            "m was killed by SIGKILL; the kernel does that when memory runs out",
        ),
        ("m is wedged: no token came out", "m is wedged: no token came out"),
        (
            "m exited with status 1; it logged nothing (log: /log)",
            "m exited with status 1; it logged nothing (log: /log)",
        ),
    ],
)
@in_browser
async def test_the_likeliest_cause_is_in_the_sentence(
    tmp_path: Path, error: str, sentence: str
) -> None:
    async with server(served(FakeBackend([]))) as client, browser(tmp_path) as tab:
        await tab.open(f"{client.base_url}/")
        script = f"import('/page/model.js').then(it => it.lastWords({json.dumps(error)}).sentence)"
        assert await tab.run(script) == sentence


@in_browser
async def test_a_file_that_is_not_in_force_is_told_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    wrong = Configuration(["m.json"], True, 1.0, error="m.json: line 4, column 3: no <comma>")
    failed = replace(wrong, error=None, failed={"coder": "coder did not start; its log"})
    for configuration, words in (
        (wrong, "Not in force: m.json: line 4, column 3: no &lt;comma&gt;"),
        (failed, "coder is not as m.json has it: coder did not start; its log"),
    ):
        async with supervised_model(tmp_path, configuration=configuration) as place:
            assert words in await shown(f"{place.client.base_url}/", tmp_path / "browser")


@in_browser
async def test_a_model_that_cannot_be_loaded_is_explained_where_it_was_asked_for(
    tmp_path: Path,
) -> None:
    async with supervised_model(tmp_path) as place, browser(tmp_path / "browser") as tab:
        await tab.open(f"{place.client.base_url}/")
        await tab.until("!document.querySelector('#load').hidden")
        await tab.fill("#load-what", "org/unknown")
        await tab.click("#load-go")
        await tab.until("document.querySelector('#load-notice.bad')")
        assert "no model named 'org/unknown'" in await tab.text("#load-notice")


@in_browser
async def test_copying_works_without_tls(tmp_path: Path) -> None:
    async with server(served(FakeBackend([]))) as client, browser(tmp_path) as tab:
        await tab.open(f"http://enginix.test:{client.base_url.port}/")
        await tab.until(pill("tokens come out"))
        assert await tab.run("navigator.clipboard === undefined")
        await tab.run("addEventListener('copy', () => { window.copied = String(getSelection()); })")
        await tab.click("#copy")
        await tab.until("document.querySelector('#copy').innerText === 'copied'")
        assert await tab.run("window.copied") == await tab.text("#snippet")


@in_browser
@pytest.mark.parametrize("path", ["", "docs"])
async def test_pages_fit_a_phone_and_load_nothing_from_elsewhere(tmp_path: Path, path: str) -> None:
    ours = served(FakeBackend([]), name="a-model-with-a-long-name-" * 3)
    async with server(ours) as client, browser(tmp_path) as tab:
        await tab.size(320)
        await tab.open(f"{client.base_url}/{path}")
        await tab.until("document.querySelector('.model, .operation')")
        await tab.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        loaded = await tab.run("performance.getEntriesByType('resource').map(one => one.name)")
        assert await tab.run("document.documentElement.scrollWidth") <= 320
        grounds = set()
        for scheme in ("light", "dark"):
            await tab.scheme(scheme)
            grounds.add(await tab.run("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert loaded
        assert all(name.startswith(f"{client.base_url}/") for name in loaded)
        assert not tab.faults


async def test_files_are_sent_once_and_only_those_of_the_page() -> None:
    async with server(served(FakeBackend([]))) as client:
        script = await client.get("/page/shared.js")
        tag = script.headers["etag"]
        again = await client.get("/page/shared.js", headers={"If-None-Match": tag})
        outside = [
            (await client.get(path)).status_code
            for path in (
                "/page/../app.py",
                "/page/%2e%2e/app.py",
                "/page//etc/passwd",
                "/page/no.js",
            )
        ]
        pages = [await client.get(path) for path in ("/", "/docs", "/redoc")]
        # Its styles and scripts are beside /docs.
        slash = await client.get("/docs/")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (again.status_code, again.content) == (304, b"")
    assert outside == [404] * 4
    assert (slash.status_code, slash.headers["location"]) == (307, "../docs")
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@in_browser
async def test_a_server_without_models_says_how_to_get_one(tmp_path: Path) -> None:
    async with server() as client, browser(tmp_path) as tab:
        await tab.open(f"{client.base_url}/")
        await tab.until(pill("no model yet"))
        assert "enginix load NAME" in await tab.text("#no-models")
        assert not tab.faults


@in_browser
async def test_a_gateway_that_ended_is_told_and_what_was_known_stays(tmp_path: Path) -> None:
    async with browser(tmp_path) as tab:
        async with server(served(FakeBackend([]))) as client:
            await tab.open(f"{client.base_url}/")
            await tab.until(pill("tokens come out"))
        await tab.until(pill("gateway gone"))
        # What was known stays readable.
        assert "demo" in await tab.text("#models")
