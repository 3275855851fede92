"""The watchdog stops complete, silent and late programs, no others, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from engine.trtllm.conftest import PATIENCE

from enginix.engine.trtllm.command import MARK, build_environment
from enginix.engine.trtllm.log import Failed, LogEvent
from enginix.engine.trtllm.orphans import family, is_open
from enginix.engine.trtllm.watchdog import (
    MAX_WARNINGS,
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


def observation(*progress: int, exited: bool = False, complete: bool = False) -> Observation:
    return Observation(has_exited=exited, is_complete=complete, progress=progress)


def test_a_program_that_exited_is_reported_at_once() -> None:
    assert Policy(PATIENT, 0).decide(0.1, observation(0, exited=True)) is Verdict.EXITED


def test_a_program_that_prints_or_writes_is_left_alone() -> None:
    policy = Policy(PATIENT, 0)
    verdicts = [policy.decide(now, observation(now, 0)) for now in range(0, 990, 90)]
    assert set(verdicts) == {Verdict.WAIT}


def test_one_growing_file_is_a_sign_of_life() -> None:
    policy = Policy(PATIENT, 0)
    policy.decide(1, observation(5, 10))
    policy.decide(90, observation(5, 11))
    assert policy.decide(189, observation(5, 11)) is Verdict.WAIT
    assert policy.decide(190, observation(5, 11)) is Verdict.STALLED


def test_a_deadline_holds_for_the_busiest_program() -> None:
    policy = Policy(PATIENT, 0)
    for now in range(0, 1000, 50):
        policy.decide(now, observation(now))
    assert policy.decide(1000, observation(1000)) is Verdict.LATE


def test_a_complete_program_gets_a_moment_to_exit() -> None:
    policy = Policy(PATIENT, 0)
    assert policy.decide(10.0, observation(9, complete=True)) is Verdict.WAIT
    assert policy.decide(11.4, observation(9, complete=True)) is Verdict.WAIT
    assert policy.decide(11.5, observation(9, complete=True)) is Verdict.LINGERED


def test_files_that_are_written_again_restart_that_moment() -> None:
    policy = Policy(PATIENT, 0)
    policy.decide(10.0, observation(9, complete=True))
    policy.decide(11.0, observation(9, complete=False))
    assert policy.decide(11.6, observation(9, complete=True)) is Verdict.WAIT
    assert policy.decide(13.1, observation(9, complete=True)) is Verdict.LINGERED


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


# Leaves an orphan in its own session that holds standard output.
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


async def test_an_orphan_in_another_session_is_stopped_too(tmp_path: Path) -> None:
    outcome = await run(task(tmp_path, ESCAPES))
    assert outcome.returncode == 0
    assert not marked(MARK, str(tmp_path))


async def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    )
    with pytest.raises(BuildStalled, match=r"printed nothing and wrote nothing for 0\.3 s"):
        await run(task(tmp_path, code), Patience(silence=0.3))
    assert not marked(MARK, str(tmp_path))


async def test_a_program_that_prints_for_ever_meets_its_deadline(tmp_path: Path) -> None:
    code = "import time\nwhile True: print('busy', flush=True); time.sleep(0.05)"
    with pytest.raises(DeadlinePassed, match=r"still busy after 1 s.*its log is"):
        await run(task(tmp_path, code), Patience(deadline=1))
    assert not marked(MARK, str(tmp_path))


FLOODS = """
line = '[03/12/2026-10:21:08] [TRT-LLM] [W] warning %d of many' + 'x' * 1000
for number in range(100_000):
    print(line % number)
print('RuntimeError: no way')
"""


async def test_a_program_that_prints_megabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    warned: list[LogEvent] = []
    tracemalloc.start()
    outcome = await watch(task(tmp_path, FLOODS), PATIENCE, warned.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "log").stat().st_size > 100_000_000
    assert peak < 50_000_000
    assert list(outcome.events)[-1] == Failed("RuntimeError: no way")
    assert len(warned) == MAX_WARNINGS + 1


async def test_the_log_is_kept_completely(tmp_path: Path) -> None:
    await run(task(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)"))
    assert sorted((tmp_path / "log").read_text().split()) == ["one", "two"]


async def test_processes_of_an_earlier_build_are_stopped_first(tmp_path: Path) -> None:
    sleeper = task(tmp_path, "import signal; signal.pause()")
    async with started(sleeper.argv, env=sleeper.environment) as child:
        assert child.pid in marked(MARK, str(tmp_path))
        await run(task(tmp_path, "pass"))
        assert await child.wait() == -9


async def test_a_file_that_is_held_open_is_detected(tmp_path: Path) -> None:
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


async def test_files_are_complete_only_once_no_process_writes_them(tmp_path: Path) -> None:
    # It holds its file open all the time, so it must not be stopped before it is silent.
    code = "import signal; f = open('made', 'w'); f.write('x'); f.flush(); signal.pause()"
    made = tmp_path / "made"
    with pytest.raises(BuildStalled):
        await run(task(tmp_path, code, made.exists), Patience(silence=2, settle=0.1, linger=0.1))
