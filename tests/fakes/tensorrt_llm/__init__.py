"""A stand-in for TensorRT-LLM's engine path; README.md says what it imitates and how it fails."""

from . import misbehave
from .version import __version__

misbehave.while_importing()

# The original prints this on every import, in every process, to standard output.
print(f"[TensorRT-LLM] TensorRT LLM version: {__version__}", flush=True)

from .logger import logger  # noqa: E402
from .mapping import Mapping  # noqa: E402

__all__ = ["Mapping", "__version__", "logger"]
