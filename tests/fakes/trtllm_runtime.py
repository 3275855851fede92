"""A tensorrt-llm runtime whose Python imports the stand-in for TensorRT-LLM."""

import shlex
import sys
from pathlib import Path

FAKES = Path(__file__).parent


def write_runtime(root: Path) -> Path:
    """`root`/bin/python, which starts this Python with the stand-in on its path."""
    python = root / "bin" / "python"
    python.parent.mkdir(parents=True)
    path, program = shlex.quote(str(FAKES)), shlex.quote(sys.executable)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {program} "$@"\n')
    python.chmod(0o755)
    return python
