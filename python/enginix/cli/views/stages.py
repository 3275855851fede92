"""Prints a build's stages: progress while one runs, and one line when it is done."""

from __future__ import annotations

import sys
from typing import TextIO

from enginix.engine.stages import StageEvent, StageFinished, StageProgress, StageStarted


class StageLines:
    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._shown = ""

    def __call__(self, event: StageEvent) -> None:
        match event:
            case StageStarted(name):
                self._show(f"{name:<8} ...")
            case StageProgress(name, done):
                self._show(f"{name:<8} {done:4.0%}")
            case StageFinished(name, summary, seconds, memory):
                self.clear()
                cost = f"{seconds:.1f} s, {memory / 1e6:,.0f} MB"
                print(f"{name:<8} {summary}  ({cost})", file=self._out, flush=True)

    def clear(self) -> None:
        """Erase the progress line, so that the next output starts on an empty one."""
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=self._out, flush=True)
        self._shown = ""

    def _show(self, line: str) -> None:
        # Only a terminal can erase a line.
        if line != self._shown and self._out.isatty():
            self.clear()
            print(line, end="", file=self._out, flush=True)
            self._shown = line
