"""One tritonserver per rank under Open MPI: the command line, and which rank said what.

TensorRT-LLM's leader mode: rank 0 serves, the others load only `tensorrt_llm` and wait for it.
MPI's world size must be the engine's tp * pp.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

LAST_WORDS = 8

# "[1,2]<stderr>:text" and, since Open MPI 5, "[job-name,2]<stderr>: text".
TAG = re.compile(r"\[[^\[\],]*,(\d+)\]<(?:stdout|stderr|stddiag)>: ?")

# How mpirun names the first rank to end: killed by a signal, or with an exit status.
NAMED = re.compile(r"process rank (\d+) |Process name: \[\[\d+,\d+\],(\d+)\]")


def mpirun_command(
    mpirun: str, ranks: Sequence[Sequence[str]], *, as_root: bool, oversubscribe: bool = False
) -> list[str]:
    """`ranks[i]` is rank i's own command line.

    `oversubscribe` lets there be more ranks than cores: a rank waits for its GPU most of the time.
    """
    command = [mpirun, "--tag-output"]
    if as_root:
        # Open MPI refuses to run as root otherwise, and containers and Nix builders are root.
        command.append("--allow-run-as-root")
    if oversubscribe:
        command.append("--oversubscribe")
    for number, rank in enumerate(ranks):
        command += [*([":"] if number else []), "-n", "1", *rank]
    return command


@dataclass(frozen=True, slots=True)
class Said:
    rank: int
    text: str


def parse_line(line: str) -> Said | None:
    """What a rank said; None for a line of mpirun's own."""
    found = TAG.match(line)
    # A line that reached mpirun in pieces has a tag before each piece.
    return Said(int(found[1]), TAG.sub("", line)) if found else None


class LastWords:
    """Keeps each rank's last lines, to tell which of them ended the others, and why."""

    def __init__(self) -> None:
        self._lines: dict[int | None, deque[str]] = defaultdict(lambda: deque(maxlen=LAST_WORDS))

    def hear(self, line: str) -> None:
        said = parse_line(line)
        if said:
            self._lines[said.rank].append(said.text)
        elif line.strip():
            self._lines[None].append(line)

    def culprit(self) -> int | None:
        """The rank that mpirun names as the first to end, if it names one."""
        for line in self._lines[None]:
            if found := NAMED.search(line):
                return int(found[1] or found[2])
        return None

    def of(self, rank: int | None) -> list[str]:
        """The last lines of a rank, or of mpirun itself for None."""
        return list(self._lines[rank])
