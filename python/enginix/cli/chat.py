"""`enginix chat [MODEL]`: a conversation with a model of a running gateway."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from enginix.cli import environment
from enginix.cli.ask_gateway import LOAD_SECONDS, ask
from enginix.cli.chat_stream import stream_chat
from enginix.cli.running_gateway import add_url, find_gateway
from enginix.cli.views.console import Console
from enginix.errors import BackendError, EnginixError, UsageError

HISTORY_LINES = 1000
COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?")
HELP = '''\
/help        show this
/clear       forget the conversation
/save FILE   write it: as JSON if FILE ends with .json, else as Markdown
/exit        end; Ctrl-D does the same
"""          start and end a question of several lines
Ctrl-C       stop the answer; once more at the prompt: end the conversation'''
# Characters that a terminal would obey: all control characters except tabs and line breaks.
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])

Show = Callable[[str, str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a name it serves (default: its only model)")
    add(
        "question",
        nargs="?",
        metavar="QUESTION",
        help="print only its answer; - reads the question from standard input",
    )
    add("--system", metavar="TEXT", help="a system message to begin with")
    add_url(parser)
    parser.epilog = (
        "`echo QUESTION | enginix chat -` answers once, with nothing but the answer on standard "
        "output. In a conversation, /help lists the commands."
    )


def run(args: argparse.Namespace) -> int:
    if args.model == "-" and args.question is None:
        args.model, args.question = None, "-"
    converses = args.question is None and sys.stdin.isatty() and sys.stdout.isatty()
    # A conversation's first line names it.
    url = find_gateway(args.url, tell=not converses)
    chat = Chat(url, _model(url, args.model))
    if args.system:
        chat.messages.append({"role": "system", "content": args.system})
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Input may be invalid in the encoding; the API accepts only text.
        sys.stdin.reconfigure(errors="replace")
    if args.question not in (None, "-"):
        return _answer_once(chat, os.fsencode(args.question).decode(errors="replace"))
    if not converses:
        # The line ends that echo and files add are not of the question, and change its answer.
        return _answer_once(chat, sys.stdin.read().rstrip("\n"))
    _converse(chat)
    return 0


def _model(url: str, wanted: str | None) -> str:
    """The name to request; the gateway also knows aliases."""
    if wanted is not None:
        return str(ask(url, "GET", f"/v1/models/{quote(wanted)}")["id"])
    names = [model["id"] for model in ask(url, "GET", "/v1/models")["data"]]
    match names:
        case [name]:
            return str(name)
        case []:
            raise BackendError(f"{url} serves no model; start one with `enginix load MODEL`")
    raise UsageError(f"{url} serves {', '.join(names)}; choose one: enginix chat {names[0]}")


@dataclass(slots=True)
class Chat:
    """A conversation so far, in the messages of the API."""

    url: str
    model: str
    messages: list[dict[str, str]] = field(default_factory=list)
    saved: set[Path] = field(default_factory=set)

    def ask(self, question: str, show: Show) -> str:
        """Show the answer as it arrives; return why it ended.

        The question and its answer join the conversation only when the answer is complete.
        """
        asked = {"role": "user", "content": question}
        answer, reason = asyncio.run(self._stream([*self.messages, asked], show))
        self.messages += [asked, {"role": "assistant", "content": answer}]
        return reason

    async def _stream(self, messages: list[dict[str, str]], show: Show) -> tuple[str, str]:
        answer = reason = ""
        body = {"model": self.model, "messages": messages}
        # The model may have to be loaded first.
        async with aclosing(stream_chat(self.url, body, LOAD_SECONDS)) as events:
            async for kind, text in events:
                if kind == "finish":
                    reason = text
                    continue
                show(kind, text)
                answer += text if kind == "content" else ""
        if not reason:
            raise BackendError(f"{self.url} ended the stream before the answer was complete")
        return answer, reason

    def clear(self) -> None:
        self.messages = [each for each in self.messages if each["role"] == "system"]

    def save(self, path: Path) -> None:
        if path.exists() and path not in self.saved:
            raise UsageError(f"{path} exists; name another file")
        if path.suffix == ".json":
            data = {"model": self.model, "messages": self.messages}
            text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        else:
            names = {"user": "you", "assistant": self.model}
            text = "\n".join(
                f"## {names.get(each['role'], each['role'])}\n\n{each['content'].strip()}\n"
                for each in self.messages
            )
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        self.saved.add(path)


def _answer_once(chat: Chat, question: str) -> int:
    if not question.strip():
        raise UsageError("the question is empty; expected text: echo QUESTION | enginix chat -")
    last = ""

    def show(kind: str, text: str) -> None:
        nonlocal last
        if kind == "content":
            print(text, end="", flush=True)
            last = text

    try:
        reason = chat.ask(question, show)
    finally:
        if last and not last.endswith("\n"):
            print(flush=True)
    if reason == "length":
        print("enginix: the answer reached its length limit", file=sys.stderr)
    return 0


def _converse(chat: Chat) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{chat.model} at {chat.url}; /help lists the commands", style="dim", markup=False
    )
    # Whether the last event was a Ctrl-C: a second one ends the chat.
    interrupted = False
    with _history(environment.cache_home() / "chat_history", console):
        while True:
            try:
                line = _read_question().strip()
                interrupted = False
                if line == "/exit":
                    return
                if line:
                    _react(chat, line, console)
            except EOFError:
                console.print()
                return
            except KeyboardInterrupt:
                console.print()
                if interrupted:
                    return
                interrupted = True
                console.print("Ctrl-C again, or Ctrl-D, ends the conversation", style="dim")
            except EnginixError as error:
                console.print(f"enginix: {error}", style="red", markup=False)


def _read_question() -> str:
    line = input("> ")
    if not line.startswith('"""'):
        return line
    lines = [line[3:]]
    while not lines[-1].rstrip().endswith('"""'):
        lines.append(input(". "))
    return "\n".join(lines).rstrip()[:-3]


def _react(chat: Chat, line: str, console: Console) -> None:
    if not (command := COMMAND.fullmatch(line)):
        _show_answer(chat, line, console)
        return
    match command.groups(default=""):
        case "help", _:
            console.print(HELP, markup=False)
        case "clear", _:
            chat.clear()
            console.print("the conversation is forgotten", style="dim")
        case "save", name if name:
            path = Path(name).expanduser()
            chat.save(path)
            console.print(f"saved to {path}", style="dim", markup=False)
        case "save", _:
            raise UsageError("expected a file: /save FILE")
        case name, _:
            raise UsageError(f"there is no command /{name}; /help lists them")


def _show_answer(chat: Chat, question: str, console: Console) -> None:
    shown = ""

    def show(kind: str, text: str) -> None:
        nonlocal shown
        text = text.translate(CONTROLS)
        if kind != shown:
            text = text.lstrip()
            if not text:
                return
            if shown:
                console.out("\n")
            shown = kind
        console.out(text, end="", style="dim" if kind == "reasoning" else None, highlight=False)

    try:
        reason = chat.ask(question, show)
    except KeyboardInterrupt:
        console.print("\nstopped; the conversation goes on without this question", style="dim")
        raise
    except EnginixError:
        console.print()
        raise
    console.print()
    if reason == "length":
        console.print("the answer reached its length limit", style="dim")


@contextmanager
def _history(path: Path, console: Console) -> Iterator[None]:
    """The lines of earlier conversations, for the cursor keys; only the user may read them."""
    try:
        # Some Pythons lack it. Its import changes how input() reads a terminal.
        import readline

        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        readline.read_history_file(path)
    except (ImportError, OSError) as error:
        console.print(f"what you type is not remembered: {error}", style="dim", markup=False)
        yield
        return
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        readline.write_history_file(path)
