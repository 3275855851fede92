"""An environment with a stand-in for TensorRT Edge-LLM: its builder, its server, and no GPU.

It has the traps of the real one: its builder writes the plan first and the rest later, takes toy
limits where it is told none, and builds from a checkpoint without a scale; its server takes no
engine, builds by itself where its cache has none, and says of itself that it is healthy, always.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

WHEEL = Path(__file__).with_name("edge_llm_wheel")
PROGRAMS = ("tensorrt-edgellm-build", "tensorrt-edgellm-serve")


def install(root: Path) -> Path:
    """For ENGINIX_RUNTIME_EDGE_LLM; FAKE_EDGE_* change what it is and does."""
    (root / "bin").mkdir(parents=True)
    python = root / "bin" / "python"
    path, program = shlex.quote(f"{WHEEL}:{WHEEL.parents[1]}"), shlex.quote(sys.executable)
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH={path}\nexec {program} "$@"\n')
    for name in PROGRAMS:
        module = name.rpartition("-")[2]
        (root / "bin" / name).write_text(f"from programs.{module} import main\nmain()\n")
    for file in (root / "bin").iterdir():
        file.chmod(0o755)
    return root
