"""The `enginix` command: runs a subcommand and prints an error as one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from enginix import __version__
from enginix.cli.file_limit import raise_file_limit
from enginix.errors import EnginixError, UsageError

# Subcommand -> its help. Its module is enginix.cli.<name>, imported only when it is run, so
# that `enginix --help` stays fast. A module has `add_arguments(parser)` and `run(args) -> int`.
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
    "start": "serve one model in the background",
    "stop": "stop what start has started",
    "chat": "talk to a model of a running gateway",
    "status": "show the models of a running gateway and their state",
    "load": "start a model's server",
    "unload": "stop a model's server once its requests are done",
    "logs": "show the logs of a profile's servers",
    "bench": "measure any OpenAI-compatible server",
    "doctor": "check this machine and say what to fix",
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # A subcommand's imports take long enough for a Ctrl-C to arrive.
        return _run(_parser(arguments).parse_args(arguments))
    except UsageError as error:
        print(f"enginix: {error}", file=sys.stderr)
        return 2
    except EnginixError as error:
        print(f"enginix: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe (`enginix models | head`); Python would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(levelname).1s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # httpx logs one line per request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    raise_file_limit()
    return int(args.run(args))


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enginix",
        description="From an NVFP4 checkpoint to an OpenAI endpoint, reproducibly.",
        epilog="`enginix COMMAND --help` explains a command. Start with: enginix up demo",
    )
    parser.add_argument("--version", action="version", version=f"enginix {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log at debug level")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"enginix.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
