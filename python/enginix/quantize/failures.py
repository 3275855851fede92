"""What to tell people when ModelOpt fails."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from enginix.errors import (
    BuildError,
    CheckpointDamaged,
    CheckpointUnsupported,
    EnginixError,
    RuntimeMissing,
    UsageError,
)
from enginix.memory import total_memory
from enginix.quantize.needs import Needs

DOING = {
    "start": "it started",
    "load": "it loaded the model",
    "calibrate": "the model read the calibration samples",
    "export": "it wrote the checkpoint",
    "replace": "it read its result",
    "score": "it measured the perplexity",
    "answer": "it compared answers",
}


@dataclass(frozen=True, slots=True)
class Failures:
    """The job that its messages are about; `log` has what ModelOpt printed."""

    source: Path
    out: Path
    calibration: Path
    needs: Needs
    log: Path

    def explain(self, kind: str, message: str, command: str) -> EnginixError:
        """The error for a failure of the program; `kind` is the program's word for it."""
        doing, log = DOING[command], f"its log is {self.log}"
        match kind:
            case "environment":
                return RuntimeMissing(
                    f"ModelOpt's environment lacks something: {message}; make it again with "
                    "`enginix setup --engine modelopt --force`"
                )
            case "calibration":
                return UsageError(f"--calibration: {self.calibration}: {message}")
            case "unsupported":
                return CheckpointUnsupported(
                    f"{self.source} is of an architecture that ModelOpt's transformers cannot "
                    f"load: {message}; code of a checkpoint is never run, so a model that needs "
                    f"its own cannot be quantized; {log}"
                )
            case "weights":
                return CheckpointDamaged(
                    f"{self.source} lacks weights of its architecture: {message}; download it again"
                )
            case "disk":
                return BuildError(
                    f"no space was left for {self.out} while {doing}: {self._free()} MB are free "
                    f"now, it needs about {self.needs.disk / 1e6:,.0f} MB; free some, or name an "
                    "--out elsewhere"
                )
            case "gpu-memory":
                return BuildError(
                    f"the GPU's memory was not enough while {doing}: {message}; free the GPU, "
                    f"shorten --length, or choose --device cpu; {log}"
                )
            case "killed" | "memory":
                return BuildError(
                    f"ModelOpt {message} while {doing}, as programs are when memory runs out: it "
                    f"needs at least {self.needs.cpu / 1e9:.1f} GB, this machine has "
                    f"{total_memory() / 1e9:.1f} GB; add memory or swap, or shorten --length; {log}"
                )
        return BuildError(f"ModelOpt failed while {doing}: {message}; {log}")

    def require_space(self, directory: Path) -> None:
        """Raise BuildError unless the disk of `directory` has room for the result."""
        if shutil.disk_usage(directory).free < self.needs.disk:
            raise BuildError(
                f"the quantized checkpoint takes about {self.needs.disk / 1e6:,.0f} MB, but the "
                f"disk of {self.out} has {self._free()} MB free; free some, or name an --out "
                "elsewhere"
            )

    def _free(self) -> str:
        parent = next(path for path in self.out.absolute().parents if path.exists())
        return f"{shutil.disk_usage(parent).free / 1e6:,.0f}"
