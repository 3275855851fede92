"""Tries guides in a separate process, because a few bytes of one can demand all memory.

`Trial` is the parent's side. As a program this file reads a vocabulary and then guides from its
standard input, compiles each under limits on memory and time, and answers what is wrong with it, or
else what it costs.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

from guides import Guides, Vocabulary
from llama_cpp import LlamaError, load_library
from parent import end_with_parent

MEMORY = 1 << 30
# Of the compiled guide: every running request has a copy.
GUIDE_MEMORY = 64 << 20
SECONDS = 5.0
START_SECONDS = 60.0
NICE = 19


class TrialFailed(LlamaError):
    """The trial failed without a result about the guide."""


class Cost(NamedTuple):
    """Seconds of processor time to compile a guide, and the bytes that it takes from then on."""

    seconds: float
    memory: int


class Allocated(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class Trial:
    """Starts the process when it is first needed, and again after a guide has ended it."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seconds: float = SECONDS,
        memory: int = MEMORY,
        python: str | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._seconds = seconds
        self._memory = memory
        self._python = python or _python()
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, kind: str, text: str) -> Cost:
        """Raises LlamaError for an invalid guide, or one that exceeds the limits."""
        process = self._running()
        answer = _ask(process, {"kind": kind, "text": text}, self._seconds)
        if answer is None:
            self.close()
            raise LlamaError(
                f"the guide is no usable {kind}: compiling it takes more than {self._seconds:g} s "
                f"or {self._memory >> 20} MB; make it smaller"
            )
        if isinstance(answer, str):
            raise LlamaError(answer)
        cost = Cost(*answer)
        if cost.memory > GUIDE_MEMORY:
            raise LlamaError(
                f"the guide is no usable {kind}: compiled, it takes {cost.memory >> 20} MB, more "
                f"than {GUIDE_MEMORY >> 20}; make it smaller"
            )
        return cost

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = self._start()
            spelled = [self._vocabulary.spell(each).hex() for each in range(self._vocabulary.size)]
            first = {"spelled": spelled, "ends": self._vocabulary.ends}
            if _ask(self._process, first, START_SECONDS) is None:
                self.close()
                raise TrialFailed(
                    "guides cannot be tried here: the process for it did not start; "
                    "the server's log says why"
                )
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        # Nothing else ends a trial after its parent was killed.
        numbers = (self._memory, 2 * self._seconds, os.getpid())
        command = [self._python, str(Path(__file__)), *map(str, numbers)]
        try:
            return subprocess.Popen(command, stdin=PIPE, stdout=PIPE)
        except OSError as error:
            raise TrialFailed(f"guides cannot be tried here: {error}") from error


def _ask(
    process: subprocess.Popen[bytes], question: object, seconds: float
) -> str | list[int] | None:
    """What is wrong, or a cost; None if the process has ended or takes too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(seconds):
            return None
    line = process.stdout.readline()
    answer: str | list[int] | None = json.loads(line) if line.endswith(b"\n") else None
    return answer


def _python() -> str:
    # In Triton's stub sys.executable is not Python; the prefix is right.
    own = Path(sys.prefix) / "bin" / "python3"
    return str(own) if own.exists() else shutil.which("python3") or sys.executable


def main(arguments: Sequence[str]) -> int:
    # The end of its input tells it only between two guides, and one may take for ever.
    end_with_parent(int(arguments[2]))
    # Tokens first: running answers get the processor whenever they need it.
    _yield_processor()
    first = json.loads(sys.stdin.buffer.readline())
    spelled = [bytes.fromhex(each) for each in first["spelled"]]
    vocabulary = Vocabulary(len(spelled), spelled.__getitem__, tuple(first["ends"]))
    guides = Guides(load_library(), vocabulary)
    guides.make("regex", "a").close()
    _limit_memory(int(arguments[0]))
    print("[]", flush=True)
    longest = float(arguments[1])
    for line in sys.stdin.buffer:
        guide = json.loads(line)
        # The signal ends the process, whatever it is doing.
        signal.setitimer(signal.ITIMER_REAL, longest)
        try:
            print(json.dumps(_cost(guides, guide["kind"], guide["text"])), flush=True)
        except LlamaError as error:
            print(json.dumps(str(error)), flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _cost(guides: Guides, kind: str, text: str) -> Cost:
    before, started = _allocated(), time.thread_time()
    guide = guides.make(kind, text)
    cost = Cost(time.thread_time() - started, _allocated() - before)
    guide.close()
    return cost


def _allocated() -> int:
    """What this process holds of its heap, in bytes."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Allocated
    allocated = mallinfo2()
    return int(allocated.uordblks + allocated.hblkhd)


def _yield_processor() -> None:
    """Compute only while no other process needs the processor."""
    os.nice(NICE)
    # Linux shares the processor out by session first, and a nice value counts within one only: so
    # a session of its own, with a nice value of its own.
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))


def _limit_memory(more: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    # Running out of memory must not leave a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main(sys.argv[1:]))
