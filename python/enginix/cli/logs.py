"""`enginix logs [PROFILE [SERVER]]`: shows and follows the logs of a profile's servers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from enginix.cli import environment
from enginix.cli.background import running
from enginix.cli.running_gateway import add_url, find_run
from enginix.errors import UsageError

POLL_SECONDS = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "profile",
        nargs="?",
        help="or a model (default: what runs; if nothing does, list the logs)",
    )
    parser.add_argument("server", nargs="?", help="a model, or gateway (default: all)")
    parser.add_argument("-n", "--lines", type=int, default=20, help="lines per log (%(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="follow until Ctrl-C")
    add_url(parser)


def run(args: argparse.Namespace) -> int:
    home = environment.cache_home() / "logs"
    profile = args.profile or _running_profile(args.url)
    if profile is None:
        for path in sorted(home.glob("*/*.log")):
            print(path)
        return 0
    started = running(environment.cache_home())
    chosen = [each.name for each in started if profile == each.model] or [profile]
    logs = [log for name in chosen for log in find_logs(home, name, args.server)]
    followed = [Followed(path) for path in logs]
    width = max(len(path.stem) for path in logs)
    show(followed, width, args.lines)
    while args.follow:
        time.sleep(POLL_SECONDS)
        show(followed, width)
    return 0


def _running_profile(url: str | None) -> str | None:
    run = find_run(url)
    return run.profile if run else None


def find_logs(home: Path, profile: str, server: str | None) -> list[Path]:
    """The logs of a profile's servers; UsageError names those that exist."""
    directory = home / profile
    # `profile` must be a name, not a path.
    logs = sorted(directory.glob("*.log")) if directory.parent == home else []
    if not logs:
        known = ", ".join(sorted(path.name for path in home.glob("*") if path.is_dir())) or "none"
        raise UsageError(f"there are no logs of a profile {profile!r}; profiles with logs: {known}")
    chosen = [path for path in logs if server is None or is_of(path, server)]
    if not chosen:
        known = ", ".join(path.stem for path in logs)
        raise UsageError(f"{profile} has no log of {server!r}; it has {known}")
    return chosen


def is_of(path: Path, server: str) -> bool:
    """Logs are named ENGINE-MODEL.log, the gateway's gateway.log."""
    return server in (path.stem, path.stem.partition("-")[2])


class Followed:
    """A log file that is read on from the last position, or from the start after a rotation."""

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
        for line in lines if limit is None else lines[-limit:]:
            print(f"{log.path.stem:<{width}} | {line}", flush=True)
