"""Makes a runtime: a virtual environment with exactly a recipe's packages, whole or absent."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import find_program, run
from enginix.runtimes.find import runtime_root
from enginix.runtimes.runtime import Recipe, Runtime
from enginix.runtimes.triton_cpu import check_runtime

# Pythons the wheel has a Triton stub for.
OLDEST, NEWEST = (3, 11), (3, 13)

PATIENCE = 1800.0

Report = Callable[[str], None]


def make_runtime(
    recipe: Recipe, home: Path, report: Report, *, python: str = sys.executable, force: bool = False
) -> Runtime:
    """Make the runtime unless it is there; `force` makes it anew."""
    root = runtime_root(recipe, home)
    if root.is_dir() and not force:
        return Runtime(recipe.kind, root)
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        _install(recipe, partial, python, report)
        check_runtime(Runtime(recipe.kind, partial))
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Runtime(recipe.kind, root)


def _install(recipe: Recipe, root: Path, python: str, report: Report) -> None:
    report(f"making a virtual environment in {root.parent}")
    _check_python(python)
    try:
        run([python, "-m", "venv", str(root)], timeout=PATIENCE)
    except ProcessError as error:
        raise RuntimeMissing(
            f"{python} cannot make a virtual environment; on Debian and Ubuntu: "
            f"apt install python3-venv ({error})"
        ) from error
    for requirement in recipe.requirements:
        report(f"installing {requirement}")
        _pip_install(root, requirement)


def _pip_install(root: Path, requirement: str) -> None:
    pip = [str(root / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    try:
        # Without dependencies: pytriton's own client side needs packages the server does not.
        run([*pip, "install", "--quiet", "--no-deps", requirement], timeout=PATIENCE)
    except ProcessError as error:
        words = str(error)
        if "No matching distribution" in words:
            raise RuntimeMissing(
                f"there is no wheel of {requirement} for this platform and Python; it needs Linux "
                "on x86-64 with glibc 2.35 or newer (Debian 12, Ubuntu 22.04)"
            ) from error
        raise RuntimeMissing(
            f"{requirement} could not be installed; is the package index reachable? {words}"
        ) from error


def _check_python(python: str) -> None:
    program = find_program(python)
    if program is None:
        raise RuntimeMissing(f"{python} was not found; name a Python with --python")
    question = "import sys; print(*sys.version_info[:2])"
    major, minor = (int(word) for word in run([str(program), "-c", question]).split())
    if not OLDEST <= (major, minor) <= NEWEST:
        raise RuntimeMissing(
            f"{python} is Python {major}.{minor}; Triton's Python backend is there for 3.11, 3.12 "
            "and 3.13: name one of them with --python"
        )
