"""Ranks become one mpirun command; its output tells which rank ended the others."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.process import find_program
from enginix.triton.server.mpi import CrashExcerpt, RankLine, RankLines, mpirun_command

needs_mpirun = pytest.mark.skipif(
    find_program("mpirun") is None, reason="mpirun is not installed (Debian: openmpi-bin)"
)


def run_ranks(*programs: str) -> CrashExcerpt:
    """Run one Python program per rank under the real mpirun and read their output."""
    command = mpirun_command(
        "mpirun",
        [[sys.executable, "-c", program] for program in programs],
        as_root=os.geteuid() == 0,
        oversubscribe=True,
    )
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    words, lines = CrashExcerpt(), RankLines()
    for line in done.stdout.splitlines():
        for of_rank in lines.take(line):
            words.add(of_rank)
    return words


def test_each_rank_has_its_own_command() -> None:
    assert mpirun_command("mpirun", [["a", "-x"], ["b"]], as_root=False) == [
        *("mpirun", "--tag-output", "--bind-to", "none"),
        *("-n", "1", "a", "-x"),
        *(":", "-n", "1", "b"),
    ]


def test_root_must_be_allowed() -> None:
    assert "--allow-run-as-root" in mpirun_command("mpirun", [["a"]], as_root=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[1,2]<stderr>:E0101 out of memory", RankLine(2, "E0101 out of memory")),
        ("[prterun-host-1@1,0]<stdout>: hello", RankLine(0, "hello")),
        (
            "mpirun noticed that process rank 1 exited",
            RankLine(None, "mpirun noticed that process rank 1 exited"),
        ),
        ("[1,2] no stream", RankLine(None, "[1,2] no stream")),
        ("", RankLine(None, "")),
    ],
)
def test_a_tagged_line_names_its_rank(line: str, expected: RankLine) -> None:
    assert RankLines().take(line) == [expected]


def test_a_line_in_chunks_is_one_line() -> None:
    assert RankLines().take("[1,0]<stdout>:half a [1,0]<stdout>:line") == [
        RankLine(0, "half a line")
    ]


def test_ranks_that_write_into_each_others_lines_keep_their_own() -> None:
    # Recorded from Open MPI 4.1.4: rank 3 writes a text, and its line end by itself.
    lines = RankLines()
    assert lines.take("[1,3]<stdout>:I rank 3 starts[1,0]<stdout>:I rank 0 starts") == [
        RankLine(0, "I rank 0 starts")
    ]
    assert lines.take("[1,3]<stdout>:") == [RankLine(3, "I rank 3 starts")]


def test_a_ranks_two_streams_keep_their_own_lines() -> None:
    lines = RankLines()
    assert lines.take("[1,0]<stderr>:out of [1,0]<stdout>:loading") == [RankLine(0, "loading")]
    assert lines.take("[1,0]<stderr>:memory") == [RankLine(0, "out of memory")]


def test_a_word_of_mpiruns_before_a_ranks_line_stays_apart() -> None:
    assert RankLines().take("mpirun: [1,1]<stdout>:hello") == [
        RankLine(None, "mpirun: "),
        RankLine(1, "hello"),
    ]


def test_a_rank_that_dies_while_it_writes_is_still_heard() -> None:
    lines = RankLines()
    lines.take("[1,1]<stderr>:out of mem[1,0]<stdout>:fine")
    assert lines.end() == [RankLine(1, "out of mem")]
    assert lines.end() == []


@needs_mpirun
def test_ranks_that_write_half_lines_at_once_keep_their_own() -> None:
    half = "for part in (b'{0} half ', b'{0} line\\n'): os.write(1, part); time.sleep(0.002)"
    programs = [f"import os, time\nfor _ in range(50):\n  {half.format(n)}" for n in "abcd"]
    words = run_ranks(*programs)
    assert [set(words.of(rank)) for rank in range(4)] == [
        {f"{name} half {name} line"} for name in "abcd"
    ]


@needs_mpirun
def test_the_rank_that_failed_is_named_with_its_last_lines() -> None:
    words = run_ranks(
        "import signal; signal.pause()",
        "print('no CUDA device', flush=True); raise SystemExit(3)",
    )
    assert words.culprit() == 1
    assert words.of(1) == ["no CUDA device"]


@needs_mpirun
def test_the_rank_that_was_killed_is_named(tmp_path: Path) -> None:
    # Of a rank that dies while others still start, Open MPI sometimes says nothing.
    os.mkfifo(running := tmp_path / "running")
    words = run_ranks(
        f"import os; open({str(running)!r}).read(); os.kill(os.getpid(), 9)",
        f"import signal; open({str(running)!r}, 'w').close(); signal.pause()",
    )
    assert words.culprit() == 0


@needs_mpirun
def test_mpirun_gives_every_rank_its_number() -> None:
    program = "import os; os.write(1, os.environ['OMPI_COMM_WORLD_RANK'].encode() + b'\\n')"
    words = run_ranks(program, program, program, program)
    assert [words.of(rank) for rank in range(4)] == [["0"], ["1"], ["2"], ["3"]]


def test_without_a_name_there_is_no_culprit() -> None:
    words = CrashExcerpt()
    words.add(RankLine(0, "fine"))
    words.add(RankLine(None, ""))
    assert words.culprit() is None


# Starts a rank as mpirun would, says its process id, and waits to be killed.
MPIRUN = """
import signal, subprocess, sys
from enginix.triton.server.ranks import die_with_parent
argv = [*die_with_parent(sys.argv[1]), "/bin/sleep", "1000"]
rank = subprocess.Popen(argv, start_new_session=True)
print(rank.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("path", ["", os.defpath])
def test_a_rank_dies_with_its_mpirun_with_and_without_setpriv(path: str) -> None:
    command = [sys.executable, "-c", MPIRUN, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as mpirun:
        assert mpirun.stdout is not None
        pid = int(mpirun.stdout.readline())
        rank = os.pidfd_open(pid)
        # By then PR_SET_PDEATHSIG is set.
        while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            pass
        mpirun.kill()
    ended, _, _ = select.select([rank], [], [], 10)
    os.close(rank)
    assert ended
