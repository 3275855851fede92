"""TensorRT-LLM's log lines: `[MM/DD/YYYY-HH:MM:SS] [TRT-LLM] [I] text`, on standard output."""

import time

severity_map = {
    "internal_error": "F",
    "error": "E",
    "warning": "W",
    "info": "I",
    "verbose": "V",
    "debug": "D",
}
_ORDER = "FEWIVD"


class Logger:
    def __init__(self) -> None:
        self._level = "I"

    def set_level(self, name: str) -> None:
        self._level = severity_map[name]

    def log(self, severity: str, text: str, *, source: str = "TRT-LLM") -> None:
        if _ORDER.index(severity) <= _ORDER.index(self._level):
            now = time.strftime("%m/%d/%Y-%H:%M:%S")
            print(f"[{now}] [{source}] [{severity}] {text}", flush=True)

    def error(self, text: str) -> None:
        self.log("E", text)

    def warning(self, text: str) -> None:
        self.log("W", text)

    def info(self, text: str) -> None:
        self.log("I", text)


logger = Logger()
