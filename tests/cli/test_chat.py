"""`enginix chat`: a conversation in a terminal, and one answer in a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fakes.backend import FakeBackend

from enginix.cli.chat import HELP
from enginix.errors import GenerationFailed
from tests.cli.terminal import Terminal, terminal
from tests.gateway.harness import TOKENIZER, ids, served, server

CTRL_C, CTRL_D = "\x03", "\x04"
DIM = "\x1b[2m"
THOUGHT = "<think>\nEasy.\n</think>\n\nParis."
PLAIN = "<think>\n\n</think>\n\nParis."


def command(client: httpx.AsyncClient, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "enginix", "chat", f"--url={client.base_url}", *arguments]


def variables(home: Path) -> dict[str, str]:
    return {**os.environ, "ENGINIX_HOME": str(home)}


@asynccontextmanager
async def talk(client: httpx.AsyncClient, home: Path, *arguments: str) -> AsyncIterator[Terminal]:
    async with terminal(command(client, *arguments), variables(home), home.parent) as shown:
        await shown.shows("> ")
        yield shown


async def piped(
    client: httpx.AsyncClient, home: Path, question: str, *arguments: str
) -> tuple[str, str, int | None]:
    process = await asyncio.create_subprocess_exec(
        *command(client, *arguments), env=variables(home), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(question.encode())
    return output.decode(), errors.decode(), process.returncode


def asked(backend: FakeBackend, turn: int) -> str:
    """A prompt as the model got it."""
    return TOKENIZER.decode(backend.asked[turn].prompt_ids)


async def test_a_piped_question_is_answered_once_without_decoration(tmp_path: Path) -> None:
    async with server(served(FakeBackend(ids(THOUGHT)))) as client:
        assert await piped(client, tmp_path, "Capital of France?\n", "-") == ("Paris.\n", "", 0)
        assert await piped(client, tmp_path, "Capital?", "demo", "-") == ("Paris.\n", "", 0)
        assert await piped(client, tmp_path, "", "demo", "Capital?") == ("Paris.\n", "", 0)


async def test_the_line_end_that_echo_adds_is_not_part_of_the_question(tmp_path: Path) -> None:
    backend = FakeBackend(ids(PLAIN))
    async with server(served(backend)) as client:
        await piped(client, tmp_path, "Two\nlines?\n", "-")
    assert asked(backend, 0) == "user\nTwo\nlines?\nassistant\n"


async def test_an_empty_question_is_refused(tmp_path: Path) -> None:
    async with server(served(FakeBackend())) as client:
        output, errors, status = await piped(client, tmp_path, " \n", "-")
    assert (output, status) == ("", 2)
    assert "the question is empty" in errors


async def test_bytes_that_are_no_text_do_not_stop_a_question(tmp_path: Path) -> None:
    backend = FakeBackend(ids(PLAIN))
    async with server(served(backend)) as client:
        for argument, data in (("-", b"caf\xff?"), (b"caf\xff?", b"")):
            process = await asyncio.create_subprocess_exec(
                *command(client, "demo"), argument, env=variables(tmp_path), stdin=PIPE, stdout=PIPE
            )
            assert await process.communicate(data) == (b"Paris.\n", None)
    assert all("caf\ufffd?" in asked(backend, turn) for turn in range(2))


async def test_a_piped_question_that_fails_exits_with_1_and_the_servers_reason(
    tmp_path: Path,
) -> None:
    backend = FakeBackend(ids(PLAIN), fails_at=len(ids(PLAIN)) - 1, error=GenerationFailed("boom"))
    async with server(served(backend)) as client:
        output, errors, status = await piped(client, tmp_path, "Capital?", "-")
    assert status == 1
    assert output == "Paris\n"
    assert errors.startswith(f"enginix: {str(client.base_url).rstrip('/')} broke off: ")
    assert errors.count("\n") == 1


async def test_an_unknown_model_and_one_of_several_are_named(tmp_path: Path) -> None:
    models = served(FakeBackend()), served(FakeBackend(), name="other", aliases=())
    async with server(*models) as client:
        _, unknown, failed = await piped(client, tmp_path, "Hi", "dmeo", "-")
        _, ambiguous, refused = await piped(client, tmp_path, "Hi", "-")
    assert (failed, refused) == (1, 2)
    assert "no model named 'dmeo' here; this server has demo, other" in unknown
    assert "serves demo, other; choose one: enginix chat demo" in ambiguous


async def test_no_gateway_is_one_line(tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        _, errors, status = await piped(client, tmp_path, "Hi", "-")
    assert status == 1
    assert errors.startswith("enginix: no gateway answers at http://127.0.0.1:1")
    assert errors.count("\n") == 1


async def test_the_answer_streams_below_the_dimmed_thoughts(tmp_path: Path) -> None:
    tokens = ids(THOUGHT)
    backend = FakeBackend(tokens, stops_at=len(tokens) - 1)
    async with server(served(backend)) as client, talk(client, tmp_path / "home") as shown:
        shown.type("Capital of France?\r")
        await shown.shows(f"{DIM}E")
        # The last token is still to come.
        await shown.shows("Paris")
        assert "Paris." not in shown.text
        backend.go.set()
        end = await shown.shows("Paris.")
        await shown.shows("> ", after=end)
        shown.type(CTRL_D)
        assert await shown.ends() == 0


async def test_a_later_question_carries_the_conversation_until_it_is_cleared(
    tmp_path: Path,
) -> None:
    backend = FakeBackend(ids(PLAIN))
    async with (
        server(served(backend)) as client,
        talk(client, tmp_path / "home", "--system=Be brief.") as shown,
    ):
        for question in ("one?", "two?", "/clear", "three?"):
            end = len(shown.text)
            shown.type(f"{question}\r")
            end = await shown.shows("forgotten" if question == "/clear" else "Paris.", after=end)
            await shown.shows("> ", after=end)
        shown.type("/exit\r")
        assert await shown.ends() == 0
    first, second, third = (asked(backend, turn) for turn in range(3))
    assert all(words in first for words in ("Be brief.", "one?"))
    assert all(words in second for words in ("Be brief.", "one?", "Paris.", "two?"))
    assert all(words in third for words in ("Be brief.", "three?"))
    assert "two?" not in third


async def test_ctrl_c_stops_the_answer_and_then_at_the_prompt_ends_the_conversation(
    tmp_path: Path,
) -> None:
    tokens = ids(PLAIN)
    backend = FakeBackend(tokens, tokens, stops_at=len(tokens) - 1)
    async with server(served(backend)) as client, talk(client, tmp_path / "home") as shown:
        shown.type("stop this?\r")
        await shown.shows("Paris")
        shown.type(CTRL_C)
        end = await shown.shows("stopped; the conversation goes on without this question")
        # The generation ends with the connection.
        async with asyncio.timeout(20):
            await backend.idle.wait()
        await shown.shows("> ", after=end)
        backend.go.set()
        shown.type("and now?\r")
        end = await shown.shows("Paris.", after=end)
        end = await shown.shows("> ", after=end)
        assert "stop this?" not in asked(backend, 1)
        await shown.waits_for_keys()
        shown.type(CTRL_C)
        end = await shown.shows("Ctrl-C again, or Ctrl-D, ends the conversation", after=end)
        await shown.shows("> ", after=end)
        assert shown.process.returncode is None
        await shown.waits_for_keys()
        shown.type(CTRL_C)
        assert await shown.ends() == 0
    assert "Traceback" not in shown.text


async def test_an_error_leaves_the_conversation_as_it_was(tmp_path: Path) -> None:
    backend = FakeBackend(ids(PLAIN), fails_at=2, error=GenerationFailed("boom"))
    async with server(served(backend)) as client, talk(client, tmp_path / "home") as shown:
        shown.type("lost?\r")
        end = await shown.shows("enginix: ")
        end = await shown.shows("> ", after=end)
        backend.error = None
        shown.type("kept?\r")
        await shown.shows("Paris.", after=end)
        assert "lost?" not in asked(backend, 1)


async def test_a_conversation_is_saved_and_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    async with (
        server(served(FakeBackend(ids(PLAIN)))) as client,
        talk(client, tmp_path / "home") as shown,
    ):
        shown.type("Capital?\r")
        end = await shown.shows("Paris.")
        for name, result in (
            ("chat.json", "saved to chat.json"),
            ("chat.md", "saved to chat.md"),
            ("mine.txt", "mine.txt exists; name another file"),
            ("no/such.md", "no/such.md cannot be written: No such file or directory"),
            ("chat.md", "saved to chat.md"),
            ("", "expected a file: /save FILE"),
        ):
            end = await shown.shows("> ", after=end)
            shown.type(f"/save {name}\r")
            end = await shown.shows(result, after=end)
    messages = [
        {"role": "user", "content": "Capital?"},
        {"role": "assistant", "content": "Paris."},
    ]
    assert json.loads((tmp_path / "chat.json").read_text()) == {
        "model": "demo",
        "messages": messages,
    }
    assert (tmp_path / "chat.md").read_text() == "## you\n\nCapital?\n\n## demo\n\nParis.\n"
    assert (tmp_path / "mine.txt").read_text() == "mine"


async def test_a_question_may_have_several_lines_and_help_names_the_commands(
    tmp_path: Path,
) -> None:
    backend = FakeBackend(ids(PLAIN))
    async with server(served(backend)) as client, talk(client, tmp_path / "home") as shown:
        shown.type('"""first line\r')
        await shown.shows(". ")
        shown.type('second line"""\r')
        end = await shown.shows("Paris.")
        end = await shown.shows("> ", after=end)
        shown.type("/help\r")
        end = await shown.shows("/save FILE", after=end)
        end = await shown.shows("> ", after=end)
        shown.type("/hepl\r")
        await shown.shows("there is no command /hepl", after=end)
    assert "first line\nsecond line" in asked(backend, 0)


async def test_typed_lines_are_remembered_for_the_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with server(served(FakeBackend(ids(PLAIN)))) as client:
        async with talk(client, home) as shown:
            shown.type("Capital?\r")
            end = await shown.shows("Paris.")
            await shown.shows("> ", after=end)
            shown.type(CTRL_D)
            assert await shown.ends() == 0
        path = home / "chat_history"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == "Capital?\n"
        async with talk(client, home) as shown:
            shown.type("\x1b[A")
            await shown.shows("Capital?")


async def test_a_home_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a directory")
    async with (
        server(served(FakeBackend(ids(PLAIN)))) as client,
        talk(client, tmp_path / "home") as shown,
    ):
        assert "what you type is not remembered" in shown.text
        shown.type("Capital?\r")
        await shown.shows("Paris.")


async def test_an_answer_cannot_send_the_terminal_commands(tmp_path: Path) -> None:
    evil = "<think>\n\n</think>\n\nred \x1b[31m \x9b2J bell \x07 :smile: [bold]\tend"
    async with (
        server(served(FakeBackend(ids(evil)))) as client,
        talk(client, tmp_path / "home") as shown,
    ):
        shown.type("Hi\r")
        await shown.shows("end")
        answer = shown.text.partition("Hi")[2]
        assert not re.search(r"\x1b\[31m|[\x9b\x07]", answer)
        assert ":smile: [bold]" in answer
        output, _, _ = await piped(client, tmp_path, "Hi", "-")
        assert "\x1b[31m" in output


def test_the_help_of_a_conversation_fits_80_columns() -> None:
    assert max(map(len, HELP.splitlines())) <= 80
