"""Random checkpoints for tests, made by the program in tools/demo-checkpoint."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PROGRAM = Path(__file__).parents[2] / "tools" / "demo-checkpoint" / "make_random.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_random", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses resolve their annotations through sys.modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_made = _load()
Shape = _made.Shape
make_checkpoint = _made.make_checkpoint
shape_of_size = _made.shape_of_size
tensors_of = _made.tensors_of
DEMO: Path = _made.DEMO
