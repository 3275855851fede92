"""Checkpoints for tests: random ones by the program in tools/demo-checkpoint, and a broken one."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import sys
from pathlib import Path
from types import ModuleType

from enginix.checkpoint.tensors import read_headers

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


def with_wrong_scales(checkpoint: Path, directory: Path) -> Path:
    """A copy, in `directory`, whose global scales are all 16 times as large as they should be."""
    shutil.copytree(checkpoint, directory)
    found = read_headers(directory).items()
    scales = [tensor for name, tensor in found if name.endswith(".weight_scale_2")]
    assert scales
    for scale in scales:
        with scale.file.open("r+b") as file:
            file.seek(scale.start)
            (value,) = struct.unpack("<f", file.read(4))
            file.seek(scale.start)
            file.write(struct.pack("<f", 16 * value))
    return directory
