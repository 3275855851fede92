"""Reads TensorRT-LLM's log as it grows: progress, warnings worth showing, errors.

Its lines are `[MM/DD/YYYY-HH:MM:SS] [TRT-LLM] [I] text`; the output of other libraries has no such
prefix. Of a traceback, only the last line matters.
"""

from __future__ import annotations

import os
import re
from codecs import getincrementaldecoder
from dataclasses import dataclass
from io import FileIO

from enginix.engine.trtllm.rank_tensors import ROPE_TABLES

LINE = re.compile(
    r"\[\d\d/\d\d/\d{4}-[\d:]{8}\] \[(?:TRT-LLM|TRT)\] \[(?P<level>[A-Z])\] (?P<text>.*)"
)
WRITING = re.compile(r"Serializing engine to .*rank(?P<rank>\d+)\.engine")
BANNER = re.compile(r"\[TensorRT-LLM\] TensorRT.LLM version: (?P<version>\S+)")
EXCEPTION = re.compile(r"(?:[a-z_]+\.)*[A-Z]\w*(?:Error|Exception|Pool|Interrupt)(?:: .*)?$")

# Printed by every run, or about options that enginix does not set.
ALWAYS_SAID = (
    "--gather_generation_logits is deprecated",
    "Overriding reduce_fusion to False",
    "Overriding user_buffer to False",
    "Implicitly setting",
    "Failed to infer cluster info",
    "Parameter was initialized as",
)

# True for every rank file: see rope_stripping.
NOT_REQUIRED = re.compile(r"Provided but not required tensors: \{(?P<names>.*)\}")

# The last line of a traceback that only refers to an earlier one.
ECHOES = ("AssertionError: Engine building failed",)


@dataclass(frozen=True, slots=True)
class Banner:
    """Printed by every process that imports TensorRT-LLM."""

    version: str


@dataclass(frozen=True, slots=True)
class RankCompiled:
    """TensorRT has compiled one rank's engine; its log does not say which."""


@dataclass(frozen=True, slots=True)
class RankWriting:
    rank: int


@dataclass(frozen=True, slots=True)
class RankWritten:
    """One of the engines is completely on disk."""


@dataclass(frozen=True, slots=True)
class AllBuilt:
    """Its last message; the process may still not exit."""


@dataclass(frozen=True, slots=True)
class Warned:
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    text: str


# Read at once, about half a second's work: a program that prints without end must not fill the
# memory of the one that watches it.
MAX_READ = 8_000_000
MAX_LINE = 64_000
MAX_MESSAGE = 2_000

LogEvent = Banner | RankCompiled | RankWriting | RankWritten | AllBuilt | Warned | Failed


class LogReader:
    """`feed` takes text in chunks of any size."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[LogEvent]:
        *lines, rest = re.split(r"[\r\n]", self._rest + text)
        self._rest = rest[:MAX_LINE]
        return [event for line in lines for event in _read(line[:MAX_LINE])]

    def finish(self) -> list[LogEvent]:
        rest, self._rest = self._rest, ""
        return _read(rest)


class LogTail:
    """Reads a growing log. Of what comes faster than it is read, the oldest is skipped."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._reader = LogReader()
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def read(self) -> list[LogEvent]:
        start = os.fstat(self._file.fileno()).st_size - MAX_READ
        if start <= self._file.tell():
            return self._reader.feed(self._decoder.decode(self._file.read(MAX_READ)))
        self._file.seek(start)
        _, _, whole_lines = self._file.read(MAX_READ).partition(b"\n")
        self._reader = LogReader()
        return self._reader.feed(self._decoder.decode(whole_lines))

    def finish(self) -> list[LogEvent]:
        return self.read() + self._reader.finish()


def _read(line: str) -> list[LogEvent]:
    match = LINE.match(line)
    if not match:
        return _read_foreign(line.strip())
    text = match["text"].strip()
    match match["level"]:
        case "W" if not _is_routine(text):
            return [Warned(text[:MAX_MESSAGE])]
        case "E" | "F":
            return [Failed(text[:MAX_MESSAGE])]
    if writing := WRITING.match(text):
        return [RankWriting(int(writing["rank"]))]
    if text.startswith("Engine generation completed"):
        return [RankCompiled()]
    if text.startswith("Engine serialized"):
        return [RankWritten()]
    return [AllBuilt()] if text.startswith("Total time of building all engines") else []


def _is_routine(text: str) -> bool:
    if match := NOT_REQUIRED.search(text):
        return set(re.findall(r"[\w.]+", match["names"])) <= set(ROPE_TABLES)
    return any(known in text for known in ALWAYS_SAID)


def _read_foreign(line: str) -> list[LogEvent]:
    """A line without TensorRT-LLM's prefix."""
    if banner := BANNER.match(line):
        return [Banner(banner["version"])]
    is_error = EXCEPTION.match(line) or "No module named" in line
    return [Failed(line[:MAX_MESSAGE])] if is_error and not line.startswith(ECHOES) else []
