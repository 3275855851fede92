"""The chat of the page at / in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion, texts
from gateway.browser import BROWSER, MISSING, Tab, browser
from gateway.harness import TOKENIZER, ids, served, server

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import GenerationFailed
from enginix.gateway.models.registry import PassthroughModel

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=MISSING),
    pytest.mark.asyncio(loop_scope="module"),
]

# What every document of the tab begins with; `asked` are the questions of its dialogs.
PRELUDE = """
window.$ = (id) => document.getElementById(id);
window.asked = [];
window.confirm = (text) => { asked.push(text); return true; };
"""


THOUGHT = "<think>\nA capital is wanted.\n</think>\n\n"
LAST = "[...document.querySelectorAll('.exchange')].at(-1)"
LONG = " ".join(f"**{number}** is a number.\n\n" for number in range(40))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def window(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    async with browser(tmp_path_factory.mktemp("browser")) as tab:
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=PRELUDE)
        yield tab
        assert tab.faults == []


@asynccontextmanager
async def chat(tab: Tab, backend: FakeBackend) -> AsyncIterator[None]:
    """The page of a server on a port of its own, so that the browser has kept nothing of it."""
    async with server(served(backend, context=2048)) as client:
        try:
            await opened(tab, f"{client.base_url}/")
            yield
        finally:
            # Its connections end before the server does.
            await tab.open("about:blank")


async def opened(tab: Tab, url: str) -> None:
    await tab.open(url)
    await tab.until(f"location.href === '{url}' && $('model')?.options.length")


async def reload(tab: Tab) -> None:
    await tab.run("window.left = true")
    await tab.call("Page.reload")
    await tab.until("!window.left && $('model')?.options.length")


async def ask(tab: Tab, question: str) -> None:
    await tab.run("$('question').focus()")
    await tab.call("Input.insertText", text=question)
    await tab.press("Enter")


async def answered(tab: Tab, question: str) -> str:
    """The answer's text, once the page says that it is complete."""
    await ask(tab, question)
    return await finished(tab)


async def finished(tab: Tab) -> str:
    await tab.until(f"!$('send').hidden && {LAST}.querySelector('.it').ariaBusy === 'false'")
    return str(await tab.run(f"{LAST}.querySelector('.markdown').innerText"))


async def seen(tab: Tab, part: str) -> str:
    """What the last exchange shows at an element."""
    return str(await tab.run(f"{LAST}.querySelector({json.dumps(part)}).innerText"))


def prompts(backend: FakeBackend) -> list[str]:
    return [TOKENIZER.decode(request.prompt_ids) for request in backend.asked]


async def test_an_answer_comes_with_its_thoughts_its_tokens_and_its_speed(window: Tab) -> None:
    backend = FakeBackend(ids(f"{THOUGHT}It is **Paris**."), ids("Berlin."))
    async with chat(window, backend):
        assert await answered(window, "The capital of France?") == "It is Paris."
        assert not await window.run(f"{LAST}.querySelector('.thought').open")
        await window.run(f"{LAST}.querySelector('summary').click()")
        assert "A capital is wanted." in await seen(window, ".thought")
        count = await seen(window, ".count")
        tokens = len(ids(f"{THOUGHT}It is **Paris**."))
        assert re.fullmatch(
            rf"{tokens} tokens · first after \d+ ms · [\d.]+ tokens/s( overall)?", count
        )
        assert "of 2,048 tokens" in await window.run("$('context').innerText")
        # A screen reader hears the whole answer.
        assert await window.run("$('said').textContent") == "It is **Paris**."
        assert await answered(window, "And of Germany?") == "Berlin."
    assert "It is **Paris**." in prompts(backend)[1]


async def test_an_empty_message_sends_nothing(window: Tab) -> None:
    backend = FakeBackend(ids("Hi"), ids("Second."))
    async with chat(window, backend):
        await ask(window, "  \n")
        await window.run("$('send').click()")
        assert await answered(window, "Hello") == "Hi"
        assert await window.run("document.querySelectorAll('.exchange').length") == 1
    assert len(backend.asked) == 1


async def test_enter_during_an_answer_keeps_the_answer_and_the_text(window: Tab) -> None:
    backend = FakeBackend(ids("One two three four five."), stops_at=2)
    async with chat(window, backend):
        await ask(window, "Count")
        await backend.stuck.wait()
        await ask(window, "And now?")
        assert backend.running == 1
        backend.go.set()
        assert await finished(window) == "One two three four five."
        assert await window.run("$('question').value") == "And now?"


@pytest.mark.parametrize("how", ["button", "Escape"])
async def test_a_stopped_answer_is_said_and_not_sent_again(window: Tab, how: str) -> None:
    backend = FakeBackend(ids("One two three four five."), ids("Yes."), stops_at=4)
    async with chat(window, backend):
        await ask(window, "Count")
        await backend.stuck.wait()
        await window.until(f"{LAST}.querySelector('.markdown').innerText")
        await (window.run("$('stop').click()") if how == "button" else window.press("Escape"))
        await asyncio.wait_for(backend.idle.wait(), 10)
        partial = await finished(window)
        assert partial.startswith("One")
        assert "Stopped." in await seen(window, ".note")
        backend.go.set()
        await answered(window, "Still there?")
        # Nothing of it returns after a reload either.
        await reload(window)
        assert await window.run("document.querySelectorAll('.note')[0].innerText") != ""
        await answered(window, "Really?")
    for prompt in prompts(backend)[1:]:
        assert "Count" not in prompt
        assert partial not in prompt


async def test_an_error_is_shown_as_an_error_and_not_sent_again(window: Tab) -> None:
    backend = FakeBackend(
        ids("One two three"), fails_at=2, error=GenerationFailed("the decoder is on fire")
    )
    async with chat(window, backend):
        await answered(window, "Count")
        note = await seen(window, ".note.bad")
        assert "the decoder is on fire" in note
        assert "fire" not in await seen(window, ".markdown")
        backend.fails_at = None
        await answered(window, "Again")
    assert "fire" not in prompts(backend)[1]
    assert "Count" not in prompts(backend)[1]


class Relay:
    """A way to a server that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_lost_connection_is_said(window: Tab) -> None:
    backend = FakeBackend(ids("One two three four five."), stops_at=4)
    async with server(served(backend)) as client:
        relay = Relay(client.base_url.port or 0)
        listener = await asyncio.start_server(relay.join, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        await opened(window, f"http://127.0.0.1:{port}/")
        await ask(window, "Count")
        await backend.stuck.wait()
        await window.until(f"{LAST}.querySelector('.markdown').innerText")
        listener.close()
        relay.cut()
        await finished(window)
        assert "connection was lost" in await seen(window, ".note.bad")
        await answered(window, "Hello?")
        assert "cannot be reached" in await seen(window, ".note.bad")
        await window.open("about:blank")


async def test_conversations_are_kept_listed_and_deleted(window: Tab) -> None:
    backend = FakeBackend(ids("Paris."), ids("Four."), ids("Rome."))
    titles = "[...document.querySelectorAll('#chat-list .row')].map((row) => row.innerText)"
    async with chat(window, backend):
        await answered(window, "The capital\nof France?")
        await window.run("$('clear').click()")
        assert await window.run("document.activeElement.id") == "question"
        await answered(window, "2 + 2?")
        await reload(window)
        assert await seen(window, ".question") == "2 + 2?"
        assert await seen(window, ".markdown") == "Four."
        assert "tokens" in await seen(window, ".count")
        await window.run("$('chats').click()")
        assert await window.run(titles) == ["2 + 2?", "The capital"]
        await window.run("document.querySelectorAll('#chat-list .row')[1].click()")
        assert await seen(window, ".markdown") == "Paris."
        await answered(window, "Of Italy?")
        await window.run("$('chats').click()")
        await window.run("document.querySelector('[aria-label=\"Delete 2 + 2?\"]').click()")
        assert await window.run("asked") == ["Delete “2 + 2?”?"]
        assert await window.run(titles) == ["The capital"]
        assert (
            await window.run("Object.keys(localStorage).filter((k) => /chat/.test(k)).length") == 1
        )
    assert "2 + 2" not in prompts(backend)[2]
    assert "Paris." in prompts(backend)[2]


async def test_no_more_conversations_are_kept_than_there_is_room_for(window: Tab) -> None:
    async with chat(window, FakeBackend(ids("Yes."))):
        kept = await window.run(
            """import('/page/conversations.js').then(({ conversations, keep, newConversation }) => {
              const answer = { state: "complete", text: "x".repeat(300000), thought: "" };
              for (let number = 0; number < 60; number++) {
                const one = newConversation();
                one.exchanges.push({ question: String(number), images: [], answer });
                if (!keep(one)) return "not kept";
              }
              const all = conversations().map((one) => one.exchanges[0].question);
              return [all[0], all.length, Object.keys(localStorage).length];
            })"""
        )
        assert kept[0] == "59"
        assert 5 < kept[1] <= 15
        assert kept[2] >= kept[1]


async def test_a_question_is_edited_and_an_answer_is_regenerated(window: Tab) -> None:
    backend = FakeBackend(ids("Paris."), ids("Four."), ids("Lyon."), ids("Berlin."))
    async with chat(window, backend):
        await answered(window, "The capital of France?")
        await answered(window, "2 + 2?")
        await window.run(f"{LAST}.querySelectorAll('.it .actions > button')[1].click()")
        assert await finished(window) == "Lyon."
        assert "Paris." in prompts(backend)[2]
        assert "Four." not in prompts(backend)[2]
        # By the keyboard: the text has the focus.
        await window.run("document.querySelector('.yours button').click()")
        await window.run("document.activeElement.select()")
        await window.call("Input.insertText", text="The capital of Germany?")
        await window.press("Enter")
        await window.until("document.querySelectorAll('.exchange').length === 1")
        assert await finished(window) == "Berlin."
        assert await window.run("asked") == ["This removes the exchange after it. Go on?"]
    assert "France" not in prompts(backend)[3]


async def test_the_page_does_not_scroll_away_from_what_is_read(window: Tab) -> None:
    text = ids(LONG)
    backend = FakeBackend(text, stops_at=len(text) // 2)
    async with chat(window, backend):
        await ask(window, "Count")
        await backend.stuck.wait()
        await window.until("$('talk').scrollTop > 100")
        at_end = "$('talk').scrollHeight - $('talk').scrollTop - $('talk').clientHeight < 2"
        await window.until(at_end)
        await window.run("$('talk').scrollTop = 50")
        await window.until("!$('newest').hidden")
        backend.go.set()
        await finished(window)
        assert await window.run("$('talk').scrollTop") == 50
        await window.run("$('newest').click()")
        await window.until(at_end)
        assert await window.run("$('newest').hidden")


async def test_a_code_block_is_copied_without_tls(window: Tab) -> None:
    backend = FakeBackend(ids("```sh\nls -l\n```"))
    async with chat(window, backend):
        # Only pages with TLS, and of this machine, have it.
        await window.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        await answered(window, "How?")
        await window.run(
            "document.addEventListener('copy', () => {"
            " window.copied = document.activeElement.value; })"
        )
        await window.run(f"{LAST}.querySelector('.code button').click()")
        await window.until(f"{LAST}.querySelector('.code button').innerText === 'copied'")
        assert await window.run("window.copied") == "ls -l"


async def test_an_answer_goes_on_while_another_conversation_is_shown(window: Tab) -> None:
    backend = FakeBackend(ids("One two three four."), ids("Yes."), stops_at=2)
    async with chat(window, backend):
        await ask(window, "Count")
        await backend.stuck.wait()
        await window.run("$('clear').click()")
        assert await window.run("document.querySelectorAll('.exchange').length") == 0
        assert not await window.run("$('send').hidden")
        backend.go.set()
        await window.until("$('said').textContent")
        await window.run("$('chats').click()")
        await window.run("document.querySelector('#chat-list .row').click()")
        assert await seen(window, ".markdown") == "One two three four."


async def test_it_fits_a_small_phone(window: Tab) -> None:
    backend = FakeBackend(
        ids(f"```\n{'x' * 200}\n```\n\n{'y' * 200}\n\n|a|b|\n|-|-|\n|{'z' * 90}|1|")
    )
    async with chat(window, backend):
        await window.size(320, 640)
        await answered(window, "W" * 100)
        await window.run("$('chats').click()")
        assert await window.run("document.documentElement.scrollWidth") <= 320
        assert await window.run("$('talk').scrollWidth <= $('talk').clientWidth")
        await window.call("Emulation.clearDeviceMetricsOverride")


# A red pixel, attached the way a user's file picker or clipboard gives it.
PICTURE = """(async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const blob = await new Promise((done) => canvas.toBlob(done));
  const data = new DataTransfer();
  data.items.add(new File([blob], "pixel.png", { type: "image/png" }));
  data.items.add(new File(["no image"], "notes.txt", { type: "text/plain" }));
  return data;
})()"""


def seeing(url: str) -> PassthroughModel:
    return PassthroughModel("sees", OpenAIBackend("it", url, "theirs"), "vllm", images=True)


@pytest.mark.parametrize("how", ["picked", "pasted"])
async def test_a_model_that_sees_gets_images(window: Tab, how: str) -> None:
    async with (
        chat_server(completion(*texts("A red pixel."))) as (stand_in, url),
        server(seeing(url)) as client,
    ):
        # The page's status asks for a probe.
        stand_in.routes["/v1/completions"] = lambda _: b'{"choices": []}'
        await opened(window, f"{client.base_url}/")
        await window.until("!$('attach').hidden")
        if how == "picked":
            await window.run(
                f"{PICTURE}.then((data) => {{ $('files').files = data.files;"
                " $('files').dispatchEvent(new Event('change')); })"
            )
        else:
            await window.run(
                f"{PICTURE}.then((data) => $('question').dispatchEvent("
                "new ClipboardEvent('paste', { clipboardData: data, cancelable: true })))"
            )
        await window.until("$('attached').children.length === 1")
        assert "notes.txt" in await window.run("$('notice').innerText")
        assert await answered(window, "What is it?") == "A red pixel."
        assert await window.run("$('attached').children.length") == 0
        await reload(window)
        assert await window.run(f"{LAST}.querySelector('.you img').naturalWidth") == 1
        assert await answered(window, "Sure?") == "A red pixel."
        await window.open("about:blank")
    first, second = stand_in.asked_at(CHAT)
    text, image = first["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert second["messages"][0] == first["messages"][0]
    assert second["messages"][2]["content"] == "Sure?"


async def test_a_model_that_reads_text_is_sent_no_images(window: Tab) -> None:
    async with chat(window, FakeBackend(ids("Hi."))):
        assert await window.run("$('attach').hidden")
        await window.run(
            f"{PICTURE}.then((data) => $('question').dispatchEvent("
            "new ClipboardEvent('paste', { clipboardData: data, cancelable: true })))"
        )
        await window.until("$('notice').innerText")
        assert await window.run("$('notice').innerText") == "demo reads text only."
        assert await window.run("$('attached').children.length") == 0


async def test_the_thoughts_and_limits_of_other_servers_are_shown(window: Tab) -> None:
    deltas = [{"reasoning": "Count them."}, {"content": "One, two"}]
    async with (
        chat_server(completion(*deltas, reason="length")) as (stand_in, url),
        server(seeing(url)) as client,
    ):
        stand_in.routes["/v1/completions"] = lambda _: b'{"choices": []}'
        await opened(window, f"{client.base_url}/")
        assert await answered(window, "Count") == "One, two"
        assert "Count them." in await window.run(f"{LAST}.querySelector('.thought').textContent")
        assert await seen(window, ".note") == "Cut off at the token limit."
        await answered(window, "And on?")
        await window.open("about:blank")
    # What is cut off is still what the model has said.
    answer = {"role": "assistant", "content": "One, two"}
    assert stand_in.asked_at(CHAT)[1]["messages"][1] == answer


async def test_a_conversation_of_another_tab_appears_and_goes(window: Tab) -> None:
    backend = FakeBackend(ids("Yes."))
    told = "dispatchEvent(new StorageEvent('storage', { key: 'enginix.chat.theirs' }))"
    async with chat(window, backend):
        await answered(window, "Mine?")
        await window.run(
            "localStorage.setItem('enginix.chat.theirs', JSON.stringify({ id: 'theirs', changed: 1,"
            " exchanges: [{ question: 'Theirs?', images: [], answer: { state: 'running', text: '',"
            " thought: '', model: 'demo' } }] }))"
        )
        await window.run(told)
        assert await window.run("$('chats').innerText") == "chats (2)"
        await window.run("localStorage.removeItem('enginix.chat.theirs')")
        await window.run(told)
        assert await window.run("$('chats').innerText") == "chats (1)"
        assert await seen(window, ".question") == "Mine?"


async def test_a_browser_that_keeps_nothing_can_still_chat(window: Tab) -> None:
    backend = FakeBackend(ids("Yes."))
    async with chat(window, backend):
        await window.run(
            "Storage.prototype.setItem = () => { throw new DOMException('no', 'SecurityError'); }"
        )
        assert await answered(window, "First?") == "Yes."
        assert "is lost with this page" in await window.run("$('notice').innerText")
        await window.run("$('clear').click()")
        await answered(window, "Second?")
        await window.run("$('chats').click()")
        await window.run("document.querySelectorAll('#chat-list .row')[1].click()")
        assert await seen(window, ".question") == "First?"


async def test_a_reload_keeps_what_had_arrived_of_an_answer(window: Tab) -> None:
    backend = FakeBackend(ids("One two three four five."), stops_at=4)
    async with chat(window, backend):
        await ask(window, "Count")
        await backend.stuck.wait()
        await window.until(f"{LAST}.querySelector('.markdown').innerText")
        arrived = await seen(window, ".markdown")
        await reload(window)
        await asyncio.wait_for(backend.idle.wait(), 10)
        assert await seen(window, ".markdown") == arrived
        assert "Stopped." in await seen(window, ".note")
