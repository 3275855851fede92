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
RECORDER = Path(__file__).with_name("tensorrt_recorder")
PROGRAMS = ("tensorrt-edgellm-build", "tensorrt-edgellm-serve")


def install(root: Path) -> Path:
    """For ENGINIX_RUNTIME_EDGE_LLM; FAKE_EDGE_* change what it is and does."""
    programs = {
        name: f"from programs.{name.rpartition('-')[2]} import main\nmain()\n" for name in PROGRAMS
    }
    return _installed(root, Path(sys.executable), f"{WHEEL}:{WHEEL.parents[1]}", programs)


def install_real(root: Path, python: Path) -> Path:
    """The real Edge-LLM that `python` imports, with a recording TensorRT and no GPU under it."""
    programs = {name: python.with_name(name).read_text() for name in PROGRAMS}
    return _installed(root, python, str(RECORDER), programs)


def _installed(root: Path, python: Path, path: str, programs: dict[str, str]) -> Path:
    (root / "bin").mkdir(parents=True)
    line = f'export PYTHONPATH={shlex.quote(path)}\nexec {shlex.quote(str(python))} "$@"\n'
    for name, text in {**programs, "python": f"#!/bin/sh\n{line}"}.items():
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    return root
