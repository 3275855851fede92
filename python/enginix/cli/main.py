"""The `enginix` command: runs a subcommand and prints an error as one line."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from enginix import __version__
from enginix.cli.file_limit import raise_file_limit
from enginix.errors import EnginixError, UsageError, did_you_mean

# Subcommand, of one word or two -> its help. Its module is enginix.cli.<name>, imported only when
# it is run, so that `enginix --help` stays fast. A module has `add_arguments(parser)` and
# `run(args) -> int`.
COMMANDS = {
    "models": "list the catalogue",
    "pull": "get a model's checkpoint from the Hugging Face hub",
    "list": "show the engines, checkpoints and runtimes on this machine",
    "rm": "remove engines, checkpoints and runtimes",
    "gc": "remove what interrupted downloads, builds and set-ups left behind",
    "ps": "show what runs on this machine",
    "checkpoint": "inspect and fetch checkpoints",
    "engine": "build, verify and show engines",
    "repository": "render Triton's model repository for an engine",
    "setup": "make an engine kind's runtime environment",
    "triton": "serve an engine with NVIDIA Triton",
    "openai": "serve the OpenAI API in front of Triton",
    "up": "start a whole profile: engine, Triton and gateway",
    "serve": "fetch, build and serve any model with what this machine has",
    "start": "serve one model in the background",
    "stop": "stop what start has started",
    "keys": "add, list and revoke named API keys with limits",
    "usage": "show what named API keys have used of which model",
    "chat": "talk to a model of a running gateway",
    "status": "show the models of a running gateway and their state",
    "load": "start a model's server",
    "unload": "stop a model's server once its requests are done",
    "restart": "replace models' servers one by one, without a failed request",
    "logs": "show the logs of a profile's servers",
    "envoy": "render Envoy's configuration for several gateways",
    "systemd": "render the systemd unit that runs a profile",
    "grafana": "render a Grafana dashboard of gateways and models",
    "prometheus": "render alert rules for Prometheus",
    "kubernetes": "render the Kubernetes objects that serve a model",
    "bench": "measure any OpenAI-compatible server",
    "bench report": "measure servers in turns, and write CSV, markdown, plots and one HTML page",
    "evaluate": "measure how well an engine or a server's model predicts a text",
    "completion": "print a shell's completion script",
    "doctor": "check this machine and say what to fix",
}

# argparse's own message; Python versions differ in its quotes.
INVALID_CHOICE = re.compile(r"invalid choice: '?(\S+?)'? \(choose from (.*)\)")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    _accept_any_text()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except UsageError as error:
        print(f"enginix: {error}", file=sys.stderr)
        return 2
    except EnginixError as error:
        print(f"enginix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Python would warn about a half-made event loop and a coroutine that never ran.
        sys.unraisablehook = lambda _: None
        warnings.simplefilter("ignore", RuntimeWarning)
        print("\nenginix: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has closed the pipe (`enginix models | head`).
        _drop_output()
        return 128 + signal.SIGPIPE
    except RuntimeError:
        if os.path.expanduser("~") != "~":
            raise
        # pathlib's, of a user that only a container knows.
        print(
            f"enginix: HOME is not set, and user {os.getuid()} has no home directory; set HOME",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        if "-v" in arguments or "--verbose" in arguments:
            raise
        print(f"enginix: {_about_output(error) or _about_file(error)}", file=sys.stderr)
        return 1


def _run(arguments: Sequence[str]) -> int:
    place = next((i for i, word in enumerate(arguments) if word in COMMANDS), len(arguments))
    command = " ".join(arguments[place : place + 2])
    if command in COMMANDS:
        # argparse has no command that takes either a subcommand or a URL, as `bench` does.
        arguments = [*arguments[:place], command, *arguments[place + 2 :]]
    parser = build_parser(arguments[place : place + 1])
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(levelname).1s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # httpx logs one line per request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    raise_file_limit()
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        # Commands clean up after themselves on a KeyboardInterrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return int(args.run(args))


def build_parser(complete: Collection[str]) -> argparse.ArgumentParser:
    """The whole command line; only the commands of `complete` are imported, with their options."""
    parser = Parser(
        prog="enginix",
        description="From an NVFP4 checkpoint to an OpenAI endpoint, reproducibly.",
        epilog="`enginix COMMAND --help` explains a command. Start with: enginix up demo",
    )
    parser.add_argument("--version", action="version", version=f"enginix {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log at debug level")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        description = text[0].upper() + text[1:] + "."
        if " " in name:
            # Without `help` it is not listed here: its first word's help names it.
            command = commands.add_parser(name, description=description)
        else:
            command = commands.add_parser(name, help=text, description=description)
        if name in complete:
            module = importlib.import_module(f"enginix.cli.{name.replace(' ', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


class Parser(argparse.ArgumentParser):
    """Suggests the nearest choices for a word that is none of them."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """argparse reports these words of a command as those of `enginix`, with its usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            hint = did_you_mean(unknown[0].partition("=")[0], self._option_string_actions)
            message = f"unrecognized arguments: {' '.join(unknown)}"
            self.error(f"{message}; {hint}" if hint else message)
        return found, unknown

    def error(self, message: str) -> NoReturn:
        if found := INVALID_CHOICE.search(message):
            hint = did_you_mean(found[1], found[2].replace("'", "").split(", "))
            message = f"{message}; {hint}" if hint else message
        super().error(message)


def _accept_any_text() -> None:
    """Where the terminal's encoding lacks a character, print a question mark instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


def _drop_output() -> None:
    """Discard what standard output has not taken: Python would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _about_output(error: OSError) -> str:
    """What is wrong with standard output; empty if it was something else that failed."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
        return f"standard output cannot be written: {error.strerror}"
    return ""


def _about_file(error: OSError) -> str:
    """What failed on which file, and what to do if enginix keeps the file."""
    from enginix.cli.environment import cache_home

    if not error.filename:
        return error.strerror or str(error)
    path, home = Path(str(error.filename)), cache_home()
    text = f"{path}: {error.strerror}"
    if home in (path, *path.parents) or path in home.parents:
        return f"{text}; enginix keeps its files in {home}: make it writable, or set ENGINIX_HOME"
    return text
