"""A lock says whose files are whose: what a killed owner left goes, what a living one has stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from enginix.owned import hold, hold_soon, own_empty, owned, remove_abandoned

# Owns a name in a directory, leaves files there, says its name, and waits to be killed.
OWNER = """
import signal, sys
from pathlib import Path
from enginix.owned import owned

place = Path(sys.argv[1])
with owned("test", [place]) as name:
    (place / f"{name}files").mkdir()
    (place / f"{name}files" / "file").touch()
    (place / f"{name}region").touch()
    print(name, flush=True)
    signal.pause()
"""

NEW_NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--kill-child", "--mount-proc"]


@contextmanager
def owner(place: Path, *before: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*before, sys.executable, "-c", OWNER, str(place)]
    process = subprocess.Popen(command, stdout=PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_an_owner_that_ends_leaves_nothing(tmp_path: Path) -> None:
    with owned("test", [tmp_path]) as name:
        (tmp_path / f"{name}region").touch()
        (tmp_path / f"{name}files").mkdir()
        (tmp_path / "somebody-else's").touch()
    assert names(tmp_path) == {"somebody-else's"}


def test_an_owner_has_the_same_name_in_all_its_places(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two", tmp_path / "two"]
    for place in places[:2]:
        place.mkdir()
    with owned("test", places) as name:
        assert [names(place) for place in places[:2]] == [{f"{name}lock"}] * 2
    assert [names(place) for place in places[:2]] == [set(), set()]


def test_what_a_killed_owner_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, name):
        process.kill()
        process.wait()
        assert len(names(tmp_path)) == 3
        with owned("other", [tmp_path]) as next_name:
            assert names(tmp_path) == {f"{next_name}lock"}
    assert name != next_name


def test_what_a_living_owner_has_stays(tmp_path: Path) -> None:
    with owner(tmp_path) as (_, name):
        remove_abandoned(tmp_path)
        assert names(tmp_path) == {f"{name}lock", f"{name}files", f"{name}region"}


def in_new_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NEW_NAMESPACE, *command], capture_output=True, text=True)


@pytest.fixture
def unshare() -> Sequence[str]:
    if shutil.which("unshare") is None or in_new_namespace("true").returncode:
        pytest.skip("this system lets us make no PID namespace")
    return NEW_NAMESPACE


def test_what_an_owner_in_another_pid_namespace_has_stays(
    tmp_path: Path, unshare: Sequence[str]
) -> None:
    with owner(tmp_path, *unshare) as (_, name):
        remove_abandoned(tmp_path)
        assert f"{name}region" in names(tmp_path)


def test_one_in_another_pid_namespace_leaves_ours_alone(
    tmp_path: Path, unshare: Sequence[str]
) -> None:
    sweep = "import sys, pathlib, enginix.owned as o; o.remove_abandoned(pathlib.Path(sys.argv[1]))"
    with owner(tmp_path) as (_, name):
        done = in_new_namespace(sys.executable, "-c", sweep, str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert names(tmp_path) == {f"{name}lock", f"{name}files", f"{name}region"}


def test_a_claim_survives_those_who_take_it_for_abandoned(tmp_path: Path) -> None:
    ended = threading.Event()

    def sweep() -> None:
        while not ended.is_set():
            remove_abandoned(tmp_path)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(200):
            with owned("test", [tmp_path]) as name:
                (tmp_path / f"{name}region").touch()
                assert (tmp_path / f"{name}region").exists()
                assert (tmp_path / f"{name}lock").exists()
    finally:
        ended.set()
        for sweeper in sweepers:
            sweeper.join()
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "name",
    [
        "enginix-test-0123456789ab-region",  # Without a lock it cannot be told.
        "enginix-triton-12345-lock",
        "lock",
        "enginix-test-0123456789ab-lock.txt",
    ],
)
def test_what_has_no_lock_of_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == {name}


def test_a_pipe_or_a_link_in_a_locks_place_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "enginix-test-0123456789ab-lock")
    (tmp_path / "target").touch()
    (tmp_path / "enginix-test-0123456789ac-lock").symlink_to(tmp_path / "target")
    before = names(tmp_path)
    remove_abandoned(tmp_path)
    assert names(tmp_path) == before


def test_a_link_of_an_owner_is_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "enginix-test-0123456789ab-lock").touch()
    (tmp_path / "enginix-test-0123456789ab-files").symlink_to(precious)
    remove_abandoned(tmp_path)
    assert names(tmp_path) == {"precious"}
    assert names(precious) == {"file"}


def test_an_empty_directory_of_another_program_goes_with_its_owner(tmp_path: Path) -> None:
    made, full = tmp_path / "made", tmp_path / "full"
    made.mkdir()
    full.mkdir()
    (full / "file").touch()
    with owned("test", [tmp_path]) as name:
        own_empty(tmp_path, name, made)
        own_empty(tmp_path, name, full)
    assert names(tmp_path) == {"full"}


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock", os.O_CREAT)
    assert first is not None
    assert hold(tmp_path / "lock", os.O_CREAT) is None
    os.close(first)
    second = hold(tmp_path / "lock", os.O_CREAT)
    assert second is not None
    os.close(second)


def test_a_lock_is_no_childs(tmp_path: Path) -> None:
    with owned("test", [tmp_path]) as name:
        child = subprocess.Popen(["sleep", "1000"])
        try:
            held = [os.path.realpath(fd) for fd in Path(f"/proc/{child.pid}/fd").iterdir()]
        finally:
            child.kill()
            child.wait()
        assert str(tmp_path / f"{name}lock") not in held


def test_a_lock_that_another_command_looks_at_is_taken_a_moment_later(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = hold(lock, os.O_CREAT)
    assert held is not None
    look = threading.Timer(0.1, os.close, [held])
    look.start()
    taken = hold_soon(lock)
    look.join()
    assert taken is not None
    assert hold(lock) is None
    os.close(taken)
