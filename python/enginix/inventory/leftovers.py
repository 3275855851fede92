"""Finds what killed builds, downloads, set-ups and supervisors left behind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from enginix.checkpoint.locate import checkpoint_home
from enginix.checkpoint.staging import INCOMPLETE
from enginix.inventory.disk import REMOVING, measure, remove
from enginix.inventory.running import is_held, other_processes
from enginix.owned import hold
from enginix.runtimes.runtime import TRITON_CPU

OF_ENGINES = re.compile(r"\.(?P<name>.+)\.(?P<what>building|work|lock)")
STAGES = {
    "building": "a build that was killed",
    "work": "stages of a build that failed; the same build would go on from there",
    "lock": "a build that was killed",
}


# Runs of one profile whose logs are kept; every log has its own size limit.
RUNS_WITH_LOGS = 5

Found = Iterable[tuple[Path, str, Path | None]]


@dataclass(frozen=True, slots=True)
class Leftover:
    path: Path
    why: str
    lock: Path | None
    """A process that still works on it holds this lock."""
    size_bytes: int


def find_leftovers(home: Path) -> list[Leftover]:
    """All leftovers whose lock is free."""
    found = [
        *_interrupted_removals(home),
        *_downloads(checkpoint_home(home)),
        *_builds(home / "engines"),
        *_runtimes(home / "runtimes"),
        *_runs(home / "run"),
        *_logs(home, "*"),
        *_older_logs(home),
    ]
    return _free(found)


def remove_old_logs(home: Path, profile: str) -> None:
    """Keep only the logs of the profile's last runs, and those of current runs."""
    for each in _free(_logs(home, profile)):
        remove_leftover(each)


def _free(found: Found) -> list[Leftover]:
    return [
        Leftover(path, why, lock, measure(path).size_bytes)
        for path, why, lock in found
        if lock is None or not is_held(lock)
    ]


def remove_leftover(leftover: Leftover) -> bool:
    """Return whether it was removed: it stays if a process has taken its lock meanwhile."""
    descriptor = None
    if leftover.lock is not None:
        try:
            descriptor = hold(leftover.lock)
        except FileNotFoundError:
            pass
        else:
            if descriptor is None:
                return False
    try:
        remove(leftover.path)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _interrupted_removals(home: Path) -> Found:
    for parent in (home / "engines", checkpoint_home(home), home / "runtimes"):
        for path in sorted(parent.glob(f".*{REMOVING}*")):
            yield path, "its removal was interrupted", None


def _downloads(directory: Path) -> Found:
    for path in sorted(directory.glob("*")):
        lock = path / INCOMPLETE / "lock"
        if REMOVING in path.name or path.is_symlink():
            continue
        if path.suffix == ".partial":
            why = "an unfinished download; the same `enginix pull` would go on from there"
            yield path, why, lock
        elif path.name.startswith(".locking-"):
            yield path, "an interrupted `enginix checkpoint lock --no-keep`", lock
        elif lock.parent.is_dir():
            yield lock.parent, "an unfinished repair of a checkpoint", lock


def _builds(directory: Path) -> Found:
    for path in sorted(directory.glob(".*")):
        if found := OF_ENGINES.fullmatch(path.name):
            is_work = found["what"] == "work"
            lock = path / "lock" if is_work else path.with_name(f".{found['name']}.lock")
            yield path, STAGES[found["what"]], lock


def _runtimes(directory: Path) -> Found:
    lock = directory / ".lock"
    named = {path.resolve() for path in directory.glob("[!.]*")}
    for path in sorted(directory.glob(".*")):
        if path != lock and REMOVING not in path.name and path.resolve() not in named:
            yield path, "an environment that was half made, or replaced", lock
    yield from ((path, why, lock) for path, why in _superseded(directory))


def _superseded(directory: Path) -> Iterator[tuple[Path, str]]:
    """Environments named after a content that this enginix no longer uses."""
    kind = TRITON_CPU.kind
    older = [
        path
        for path in sorted(directory.glob(f"{kind}-*"))
        if path.name != TRITON_CPU.directory_name
        and re.fullmatch(rf"{kind}-[0-9a-f]{{12}}", path.name)
    ]
    processes = other_processes() if older else []
    for path in older:
        paths = {str(path), str(path.resolve())}
        if not any(process.uses(each) for process in processes for each in paths):
            yield path, "an environment that this enginix no longer uses"


def _runs(directory: Path) -> Found:
    for path in sorted(directory.glob("*")):
        lock = path if path.suffix == ".lock" else path.with_name(f"{path.name}.lock")
        if path.is_dir() or path == lock:
            yield path, "files of an `enginix up` that was killed", lock


def _logs(home: Path, profile: str) -> Found:
    for directory in sorted((home / "logs").glob(profile)):
        why = f"logs of a run that has ended; those of the last {RUNS_WITH_LOGS} are kept"
        for run in sorted(path for path in directory.glob("*") if path.is_dir())[:-RUNS_WITH_LOGS]:
            port = run.name.rpartition("-")[2]
            yield run, why, home / "run" / f"{directory.name}-{port}.lock"


def _older_logs(home: Path) -> Found:
    """Logs from before every run had its own directory."""
    for path in sorted((home / "logs").glob("*/*.log*")):
        locks = (home / "run").glob(f"{path.parent.name}-*.lock")
        yield path, "a log of an earlier enginix", next(filter(is_held, locks), None)
