"""Runs one tritonserver per rank under Open MPI: command line, and output lines by rank.

TensorRT-LLM's leader mode: rank 0 serves, the others load only `tensorrt_llm` and wait for it.
MPI's world size must be the engine's tp * pp.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.process import descendants

MAX_LINES = 8

# Set in the environment of every process of a rank.
RANK = "OMPI_COMM_WORLD_RANK"

# "[1,2]<stderr>:text" and, since Open MPI 5, "[job-name,2]<stderr>: text".
TAG = re.compile(r"\[[^\[\],]*,(\d+)\]<(stdout|stderr|stddiag)>: ?")

# How mpirun names the first rank to end: killed by a signal, or with an exit status.
NAMED = re.compile(r"process rank (\d+) |Process name: \[\[\d+,\d+\],(\d+)\]")


def mpirun_command(
    mpirun: str,
    ranks: Sequence[Sequence[str]],
    *,
    as_root: bool,
    oversubscribe: bool = False,
    placement: Sequence[str] = (),
) -> list[str]:
    """`ranks[i]` is rank i's own command line; `placement`: options for several machines.

    `oversubscribe` allows more ranks than cores: a rank waits for its GPU most of the time.
    """
    # Open MPI binds each rank to one core or socket; a server and its models need them all.
    command = [mpirun, "--tag-output", "--bind-to", "none", *placement]
    if as_root:
        # Open MPI otherwise refuses to run as root, and containers and Nix builders are root.
        command.append("--allow-run-as-root")
    if oversubscribe:
        command.append("--oversubscribe")
    for number, rank in enumerate(ranks):
        command += [*([":"] if number else []), "-n", "1", *rank]
    return command


def leader(mpirun: int) -> int | None:
    """Process id of rank 0, below the mpirun with that process id."""
    # Parents come before children: rank 0 before the stubs it started.
    ranks = (pid for pid in descendants(mpirun) if _variable_of(pid, RANK) == "0")
    return next(ranks, None)


@dataclass(frozen=True, slots=True)
class RankLine:
    """A rank's output line; with rank None, a line of mpirun's own."""

    rank: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.rank is None else f"[rank {self.rank}] {self.text}"


class RankLines:
    """Takes the output lines of mpirun apart into the lines of each rank.

    mpirun passes on what a rank has written so far, tagged, and that may end inside a line: what
    another rank writes then follows on the same line, and the rest comes on a later one.
    """

    def __init__(self) -> None:
        # By rank and stream: the part of a line that has arrived.
        self._unfinished: dict[tuple[int, str], str] = {}

    def take(self, line: str) -> list[RankLine]:
        """The lines that end with this line of mpirun's output."""
        own, *pieces = TAG.split(line)
        finished = [RankLine(None, own)] if own or not pieces else []
        tags = [(int(rank), stream) for rank, stream in zip(pieces[::3], pieces[1::3], strict=True)]
        for tag, text in zip(tags, pieces[2::3], strict=True):
            self._unfinished[tag] = self._unfinished.get(tag, "") + text
        if tags:
            finished.append(RankLine(tags[-1][0], self._unfinished.pop(tags[-1])))
        return finished

    def end(self) -> list[RankLine]:
        """The lines that never ended: of ranks that died while they wrote."""
        lines, self._unfinished = self._unfinished, {}
        return [RankLine(rank, text) for (rank, _), text in lines.items()]


class CrashExcerpt:
    """Keeps each rank's last output lines, to tell which rank ended the others and why."""

    def __init__(self) -> None:
        self._lines: dict[int | None, deque[str]] = defaultdict(lambda: deque(maxlen=MAX_LINES))

    def add(self, line: RankLine) -> None:
        if line.rank is not None or line.text.strip():
            self._lines[line.rank].append(line.text)

    def culprit(self) -> int | None:
        """The rank that mpirun names as the first to end, or None."""
        for line in self._lines[None]:
            if found := NAMED.search(line):
                return int(found[1] or found[2])
        return None

    def of(self, rank: int | None) -> list[str]:
        """The last lines of a rank, or of mpirun itself for None."""
        return list(self._lines[rank])

    def describe(self) -> str:
        """The first rank to end and its last lines; every rank's if no rank was first."""
        culprit = self.culprit()
        if culprit is not None:
            return f"rank {culprit} ended first and ended the others" + self._quote(culprit)
        ranks = sorted(rank for rank in self._lines if rank is not None)
        return (
            "; ".join(f"rank {rank}" + self._quote(rank) for rank in ranks)
            or "no rank wrote a line"
        )

    def _quote(self, rank: int) -> str:
        lines = self.of(rank)
        return ":".join([", its last lines", *(f"\n  {line}" for line in lines)]) if lines else ""


def _variable_of(pid: int, name: str) -> str | None:
    """An environment variable from a process's start."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    values = (
        entry.partition(b"=")[2] for entry in variables if entry.startswith(f"{name}=".encode())
    )
    return next((value.decode(errors="replace") for value in values), None)
