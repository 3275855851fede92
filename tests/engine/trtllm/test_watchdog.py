"""The watchdog ends what is done, silent or late, and nothing else; and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engine.trtllm.conftest import PATIENCE

from enginix.engine.trtllm.command import MARK, build_environment
from enginix.engine.trtllm.orphans import family, is_open
from enginix.engine.trtllm.watchdog import (
    Observation,
    Outcome,
    Patience,
    Policy,
    Task,
    Verdict,
    watch,
)
from enginix.errors import BuildStalled, DeadlinePassed
from enginix.marked import marked
from enginix.process import started

PATIENT = Patience(silence=100, deadline=1000, settle=0.5, linger=1.0)


def sight(*progress: int, left: bool = False, complete: bool = False) -> Observation:
    return Observation(has_left=left, is_complete=complete, progress=progress)


def test_a_program_that_left_is_told_so_at_once() -> None:
    assert Policy(PATIENT, 0).look(0.1, sight(0, left=True)) is Verdict.LEFT


def test_a_program_that_prints_or_writes_is_left_alone() -> None:
    judge = Policy(PATIENT, 0)
    verdicts = [judge.look(now, sight(now, 0)) for now in range(0, 990, 90)]
    assert set(verdicts) == {Verdict.WAIT}


def test_one_growing_file_is_a_sign_of_life() -> None:
    judge = Policy(PATIENT, 0)
    judge.look(1, sight(5, 10))
    judge.look(90, sight(5, 11))
    assert judge.look(189, sight(5, 11)) is Verdict.WAIT
    assert judge.look(190, sight(5, 11)) is Verdict.STALLED


def test_a_deadline_holds_for_the_busiest_program() -> None:
    judge = Policy(PATIENT, 0)
    for now in range(0, 1000, 50):
        judge.look(now, sight(now))
    assert judge.look(1000, sight(1000)) is Verdict.LATE


def test_complete_and_still_there_is_given_a_moment_to_leave() -> None:
    judge = Policy(PATIENT, 0)
    assert judge.look(10.0, sight(9, complete=True)) is Verdict.WAIT
    assert judge.look(11.4, sight(9, complete=True)) is Verdict.WAIT
    assert judge.look(11.5, sight(9, complete=True)) is Verdict.LINGERED


def test_files_that_were_complete_and_are_written_again_start_the_moment_anew() -> None:
    judge = Policy(PATIENT, 0)
    judge.look(10.0, sight(9, complete=True))
    judge.look(11.0, sight(9, complete=False))
    assert judge.look(11.6, sight(9, complete=True)) is Verdict.WAIT
    assert judge.look(13.1, sight(9, complete=True)) is Verdict.LINGERED


def task(tmp_path: Path, code: str, is_complete: Callable[[], bool] = lambda: False) -> Task:
    mark = str(tmp_path)
    return Task(
        program="the program",
        argv=[sys.executable, "-c", code],
        environment=build_environment(os.environ, mark),
        mark=mark,
        directory=tmp_path,
        log=tmp_path / "log",
        files=[tmp_path / "made"],
        is_complete=is_complete,
    )


async def run(task: Task, patience: Patience = PATIENCE) -> Outcome:
    return await watch(task, patience, lambda event: None)


# Leaves a child in a session of its own, whose parent is gone, and which holds standard output.
ESCAPES = """
import os, signal, sys
print('hello', flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    os._exit(0)
os.wait()
"""


async def test_what_escaped_its_session_and_its_parent_is_ended_too(tmp_path: Path) -> None:
    outcome = await run(task(tmp_path, ESCAPES))
    assert outcome.returncode == 0
    assert not marked(MARK, str(tmp_path))


async def test_a_program_that_ignores_sigterm_is_ended(tmp_path: Path) -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    )
    with pytest.raises(BuildStalled, match=r"printed nothing and wrote nothing for 0\.3 s"):
        await run(task(tmp_path, code), Patience(silence=0.3))
    assert not marked(MARK, str(tmp_path))


async def test_a_program_that_talks_for_ever_meets_its_deadline(tmp_path: Path) -> None:
    code = "import time\nwhile True: print('busy', flush=True); time.sleep(0.05)"
    with pytest.raises(DeadlinePassed, match=r"still busy after 1 s.*its log is"):
        await run(task(tmp_path, code), Patience(deadline=1))
    assert not marked(MARK, str(tmp_path))


async def test_the_log_is_kept_whole(tmp_path: Path) -> None:
    await run(task(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)"))
    assert sorted((tmp_path / "log").read_text().split()) == ["one", "two"]


async def test_an_earlier_builds_leftovers_are_ended_first(tmp_path: Path) -> None:
    sleeper = task(tmp_path, "import signal; signal.pause()")
    async with started(sleeper.argv, env=sleeper.environment) as child:
        assert child.pid in marked(MARK, str(tmp_path))
        await run(task(tmp_path, "pass"))
        assert await child.wait() == -9


async def test_a_file_that_is_held_open_is_known(tmp_path: Path) -> None:
    code = "import signal, sys; f = open('made', 'w'); print('open', flush=True); signal.pause()"
    holder = task(tmp_path, code)
    with (tmp_path / "log").open("wb") as log:
        async with started(holder.argv, env=holder.environment, cwd=tmp_path, stdout=log) as child:
            while not (tmp_path / "log").stat().st_size:
                assert child.returncode is None
            pids = family(child.pid, str(tmp_path))
            assert is_open([tmp_path / "made"], pids)
            assert not is_open([tmp_path / "other"], pids)
    assert not is_open([tmp_path / "made"], pids)


async def test_complete_is_believed_only_when_nobody_writes_any_more(tmp_path: Path) -> None:
    # It holds its file open all the time, so it must be left alone until it is silent.
    code = "import signal; f = open('made', 'w'); f.write('x'); f.flush(); signal.pause()"
    made = tmp_path / "made"
    with pytest.raises(BuildStalled):
        await run(task(tmp_path, code, made.exists), Patience(silence=2, settle=0.1, linger=0.1))
