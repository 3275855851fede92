"""`enginix logs [PROFILE [SERVER]]`: shows and follows the logs of a profile's servers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from enginix.cli import environment
from enginix.cli.background import running
from enginix.cli.running_gateway import add_url, find_run
from enginix.errors import UsageError
from enginix.inventory.running import supervisors
from enginix.serve.model_entry import file_name

POLL_SECONDS = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profile",
        nargs="?",
        metavar="PROFILE",
        help="or a model (default: what runs; if nothing does, list the logs)",
    )
    parser.add_argument(
        "server", nargs="?", metavar="SERVER", help="a model, or gateway (default: all)"
    )
    parser.add_argument("-n", "--lines", type=int, default=20, help="lines per log (%(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="follow until Ctrl-C")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    if args.lines < 0:
        raise UsageError(f"--lines is {args.lines}; expected 0 or more")
    home = environment.cache_home()
    directory = _directory(home, args)
    if directory is None:
        found = sorted((home / "logs").glob("*/*/*.log"))
        for path in found:
            print(path)
        if not found:
            print(f"there are no logs in {home / 'logs'}", file=sys.stderr)
        return 0
    logs = find_logs(directory, args.server)
    followed = [Followed(path) for path in logs]
    width = max(len(path.stem) for path in logs)
    show(followed, width, args.lines)
    while args.follow:
        time.sleep(POLL_SECONDS)
        show(followed, width)
    return 0


def _directory(home: Path, args: argparse.Namespace) -> Path | None:
    """The log directory of the running profile, or of that profile's last run."""
    for started in running(home):
        if args.profile == started.model:
            return Path(started.log).parent
    is_running = any(run.profile == args.profile for run in supervisors(home))
    if args.profile and not args.url and not is_running:
        directory = last_run(home / "logs", args.profile)
        print(f"the last run of {args.profile}, which has ended: {directory}", file=sys.stderr)
        return directory
    run = find_run(args.url, args.profile)
    if run and not run.logs:
        raise UsageError(f"the gateway at {run.url} logs to where `enginix openai` was started")
    return run.logs if run else None


def last_run(home: Path, profile: str) -> Path:
    """The directory of its logs; UsageError names the profiles that have some."""
    # `profile` must be a name, not a path.
    runs = sorted((home / profile).glob("*/")) if (home / profile).parent == home else []
    if not runs:
        known = ", ".join(sorted(path.name for path in home.glob("*/"))) or "none"
        raise UsageError(f"there are no logs of a profile {profile!r}; profiles with logs: {known}")
    return runs[-1]


def find_logs(directory: Path, server: str | None) -> list[Path]:
    """The logs of a run's servers, or of one of them; UsageError names those that exist."""
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stem)
    chosen = [path for path in logs if server is None or is_of(path, server)]
    if not chosen:
        known = ", ".join(path.stem for path in logs) or "none yet"
        what = f"log of {server!r}" if server else "log"
        raise UsageError(f"{directory.parent.name} has no {what}; it has {known}")
    return chosen


def is_of(path: Path, server: str) -> bool:
    """Logs are named ENGINE-MODEL.log, ENGINE-MODEL#2.log for a second server, or gateway.log."""
    name = path.stem.partition("-")[2]
    return file_name(server) in (path.stem, name, name.partition("#")[0])


class Followed:
    """A log file, read from the last position on, or from the start after a rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def new_lines(self) -> list[str]:
        try:
            with self.path.open("rb") as log:
                if log.seek(0, 2) < self._read:
                    self._read = 0
                log.seek(self._read)
                data = log.read()
        except FileNotFoundError:
            return []
        # An incomplete line is left for the next read.
        complete = data[: data.rfind(b"\n") + 1]
        self._read += len(complete)
        return complete.decode(errors="replace").splitlines()


def show(logs: Sequence[Followed], width: int, limit: int | None = None) -> None:
    for log in logs:
        lines = log.new_lines()
        for line in lines if limit is None else lines[max(len(lines) - limit, 0) :]:
            print(f"{log.path.stem:<{width}} | {line}", flush=True)
