"""An isolated environment an engine kind runs in, and what it is made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `enginix setup` installs, without dependencies: the list is complete."""

    kind: str
    requirements: tuple[str, ...]

    @property
    def directory_name(self) -> str:
        """Names the content, so that another recipe never finds an older runtime."""
        digest = hashlib.sha256("\n".join(self.requirements).encode()).hexdigest()
        return f"{self.kind}-{digest[:12]}"


TRITON_CPU = Recipe(
    "triton-cpu",
    (
        # The wheel carries the real tritonserver 2.51 (24.10) with its Python backend.
        "nvidia-pytriton==0.7.0",
        # That backend was compiled for numpy 1: with numpy 2 every output tensor is silently empty.
        "numpy>=1.26,<2",
        # llama.cpp's C API; the struct layouts in triton-repo/gguf belong to exactly this version.
        "xllamacpp==2026.10.11549",
        "tokenizers>=0.21,<0.24",
    ),
)

RECIPES = {recipe.kind: recipe for recipe in (TRITON_CPU,)}


@dataclass(frozen=True, slots=True)
class Runtime:
    """`root` has the shape of a virtual environment: bin/python, lib/python3.X/site-packages."""

    kind: str
    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def python_version(self) -> str:
        """'3.11': the version of the interpreter, from the directory its packages are in."""
        return self.site_packages.parent.name.removeprefix("python")

    @property
    def site_packages(self) -> Path:
        return next((self.root / "lib").glob("python3.*/site-packages"))
