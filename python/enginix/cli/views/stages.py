"""Prints a build's stages: progress while one runs, and one line when it is done."""

from __future__ import annotations

import sys

from enginix.engine.stages import StageEvent, StageFinished, StageProgress, StageStarted


class StageLines:
    def __init__(self) -> None:
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
                print(f"{name:<8} {summary}  ({cost})", flush=True)

    def clear(self) -> None:
        """Erase the progress line, so that the next output starts on an empty one."""
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", flush=True)
        self._shown = ""

    def _show(self, line: str) -> None:
        # Only a terminal can erase a line.
        if line != self._shown and sys.stdout.isatty():
            self.clear()
            print(line, end="", flush=True)
            self._shown = line
