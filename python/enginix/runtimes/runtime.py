"""An isolated environment that an engine kind runs in, and its recipe."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from enginix.prerequisites import supported_pythons

# Where a name differs from that of the runtime it needs.
VARIABLES = {"trtllm": "tensorrt-llm"}

# A valid environment name, which is also a directory's name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `enginix setup` installs, and the requirements for that."""

    kind: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...] = ("3.11", "3.12")
    """The Python versions with wheels."""
    for_python: tuple[tuple[str, str], ...] = ()
    """Extra requirements of a Python version, as (version, requirement)."""
    needs: str = "Linux on x86-64 with glibc 2.35 or newer (Debian 12, Ubuntu 22.04)"
    """The wheels' platform and index, for the error that there is no wheel."""
    program: str = ""
    """The server program in bin/. A recipe with a program is installed with its dependencies."""
    without: tuple[str, ...] = ()
    """Dependencies to uninstall because they break the program."""
    alias: str = ""
    """Another distribution name, by which the program looks up its own version."""
    name: str = ""
    """The user's name for this environment, if not the kind's."""
    separately: str = ""
    """What it needs that pip does not bring with it, and how to install that."""

    @property
    def package(self) -> str:
        """The distribution whose version is the environment's."""
        return re.split(r"[^\w.-]", self.requirements[0])[0]

    @property
    def directory_name(self) -> str:
        if self.name or self.program:
            return self.name or self.kind
        # A hash of the content, so that a changed recipe never finds an older runtime.
        parts = [*self.requirements, *(" ".join(pair) for pair in self.for_python)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return f"{self.kind}-{digest[:12]}"

    def requirements_for(self, python: str) -> tuple[str, ...]:
        """`python` is a version such as 3.11."""
        return (
            *self.requirements,
            *(what for version, what in self.for_python if version == python),
        )


TRITON_CPU = Recipe(
    "triton-cpu",
    (
        # The wheel carries the real tritonserver 2.51 (24.10) with its Python backend.
        "nvidia-pytriton==0.7.0",
        # llama.cpp's C API; the struct layouts in triton-repo/gguf belong to exactly this version.
        "xllamacpp==2026.10.11549",
        "tokenizers>=0.21,<0.24",
    ),
    pythons=supported_pythons(),
    for_python=(
        # That backend was compiled for numpy 1: with numpy 2 every output tensor is silently empty,
        # unless its stub is fitted to it (triton_stub.py).
        ("3.11", "numpy>=1.26,<2"),
        ("3.12", "numpy>=1.26,<2"),
        ("3.13", "numpy>=2.1,<3"),
    ),
)


def runtime_variable(kind: str) -> str:
    """The environment variable that names the root of a ready runtime, of a kind or an engine."""
    return "ENGINIX_RUNTIME_" + VARIABLES.get(kind, kind).upper().replace("-", "_")


@dataclass(frozen=True, slots=True)
class Runtime:
    """`root` is laid out as a virtual environment: bin/python, lib/python3.X/site-packages."""

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
