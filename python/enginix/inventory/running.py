"""Finds a home's running supervisors, and the processes that use its directories."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from enginix.errors import EnginixError
from enginix.owned import hold
from enginix.process import ancestors, process_ids
from enginix.supervision import ServerStatus, Status, Statuses, decode, encode

CONTROL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Supervisor:
    """One `enginix up`, or `enginix openai`, that runs."""

    profile: str
    port: int
    """The gateway's."""
    directory: Path

    @property
    def url(self) -> str:
        """The gateway's address on this machine."""
        return self._recorded("url") or f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> Path | None:
        """The directory of its servers' logs; None for a gateway without a profile."""
        return Path(logs) if (logs := self._recorded("logs")) else None

    @property
    def api_keys(self) -> Path | None:
        """A file of keys that the gateway accepts."""
        return Path(keys) if (keys := self._recorded("api_keys")) else None

    def _recorded(self, key: str) -> str | None:
        try:
            value = json.loads((self.directory / "run.json").read_bytes())[key]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None

    def engines(self) -> set[str]:
        """Engine directories that Triton serves, even if its processes are not visible here."""
        try:
            rows = json.loads((self.directory / "gateway.json").read_bytes())["models"]
            return {row["directory"] for row in rows if "directory" in row}
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def servers(self) -> dict[str, ServerStatus]:
        """Status by model, from the control socket; empty if nothing answers."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(CONTROL_SECONDS)
                connection.connect(str(self.directory / "control"))
                connection.sendall(encode(Status()))
                with connection.makefile("rb") as answer:
                    return decode(Statuses, answer.readline()).servers
        except (OSError, ValueError, EnginixError):
            return {}


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    words: tuple[str, ...]
    """Its command line."""
    paths: frozenset[str]
    """Its open and mapped files, and its words as paths from its working directory."""

    @property
    def name(self) -> str:
        """'enginix triton demo (process 42)': no directories, no options, no interpreter."""
        plain = (word for word in self.words if not word.startswith("-"))
        words = [word.rstrip("/").rpartition("/")[2] for word in plain]
        if len(words) > 1 and words[0].startswith("python"):
            del words[0]
        return f"{' '.join(words):.40} (process {self.pid})"

    def uses(self, directory: str) -> bool:
        own = f"{directory}/"
        return any(own in f"{word}/" for word in self.words) or any(
            f"{path}/".startswith(own) for path in self.paths
        )

    def serves(self, engine: str) -> bool:
        """Whether it is `enginix triton NAME` of that engine."""
        pairs = zip(self.words, self.words[1:], strict=False)
        is_triton = any(one.endswith("enginix") and two == "triton" for one, two in pairs)
        return is_triton and engine in self.words


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock; an unreadable lock counts as held."""
    try:
        descriptor = hold(lock)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def supervisors(home: Path) -> list[Supervisor]:
    found = []
    for lock in sorted((home / "run").glob("*.lock")):
        profile, _, port = lock.stem.rpartition("-")
        if port.isdigit() and is_held(lock):
            found.append(Supervisor(profile, int(port), lock.with_suffix("")))
    return found


def other_processes() -> list[Process]:
    """All visible processes except this one and its ancestors."""
    skipped = {os.getpid(), *ancestors(os.getpid())}
    found = []
    for pid in process_ids():
        if pid in skipped:
            continue
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            words = tuple(line.split("\0")[:-1])
            found.append(Process(pid, words, frozenset(_paths(pid, words))))
    return found


def _paths(pid: int, words: Sequence[str]) -> Iterator[str]:
    # Only the command line of another user's process is readable.
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            if "/" in line:
                yield line[line.index("/") :]
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                yield os.readlink(descriptor.path)
    with suppress(OSError):
        directory = os.readlink(f"/proc/{pid}/cwd")
        yield from (os.path.normpath(os.path.join(directory, word)) for word in words)
