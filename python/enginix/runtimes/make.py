"""Makes a runtime: a virtual environment with exactly a recipe's packages, whole or absent."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import find_program, run, started
from enginix.runtimes.find import is_made, runtime_root
from enginix.runtimes.runtime import Recipe, Runtime
from enginix.runtimes.triton_cpu import check_runtime

# Pythons that Triton's wheel has a stub for and numpy 1 has wheels for.
OLDEST, NEWEST = (3, 11), (3, 12)

PATIENCE = 1800.0
GRACE = 2.0
LAST_LINES = 15

# What pip says when it cannot reach an index; it then also says that there is no such package.
NETWORK_TROUBLE = ("Retrying (", "connection", "timed out", "SSLError", "ProxyError", "getaddrinfo")

Report = Callable[[str], None]


def make_runtime(
    recipe: Recipe, home: Path, report: Report, *, python: str = sys.executable, force: bool = False
) -> Runtime:
    """Make the runtime unless it is there; `force` makes it anew."""
    root = runtime_root(recipe, home)
    root.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root.parent, report):
        if is_made(root) and not force:
            return Runtime(recipe.kind, root)
        partial = root.with_name(f"{root.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _install(recipe, partial, python, report)
            check_runtime(Runtime(recipe.kind, partial))
            shutil.rmtree(root, ignore_errors=True)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Runtime(recipe.kind, root)


@contextmanager
def _alone(directory: Path, report: Report) -> Iterator[None]:
    """One maker at a time: two would take the half-made directory away from each other."""
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another `enginix setup` to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(recipe: Recipe, root: Path, python: str, report: Report) -> None:
    version = _check_python(python)
    report(f"making a virtual environment in {root.parent}")
    try:
        _run([python, "-m", "venv", str(root)])
    except ProcessError as error:
        raise RuntimeMissing(
            f"{python} cannot make a virtual environment; on Debian and Ubuntu: "
            f"apt install python{version}-venv ({_last_line(error)})"
        ) from error
    for requirement in recipe.requirements:
        report(f"installing {requirement}")
        _pip_install(root, requirement)


def _pip_install(root: Path, requirement: str) -> None:
    pip = [str(root / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # Without dependencies: pytriton's own client side needs packages the server does not.
    # Wheels only: what would be compiled from source fails late, and for other reasons.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:"]
    try:
        _run([*pip, "install", *options, requirement])
    except ProcessError as error:
        words = str(error)
        if any(sign.lower() in words.lower() for sign in NETWORK_TROUBLE):
            why = "the package index cannot be reached; check the network or pip's index settings"
        elif "No matching distribution" in words:
            why = (
                "there is no wheel of it for this platform and Python; it needs Linux on x86-64 "
                "with glibc 2.35 or newer (Debian 12, Ubuntu 22.04) and Python 3.11 or 3.12"
            )
        else:
            why = _last_line(error)
        raise RuntimeMissing(f"{requirement} could not be installed: {why}") from error


def _last_line(error: ProcessError) -> str:
    return str(error).strip().splitlines()[-1]


def _run(argv: Sequence[str]) -> None:
    """Raise ProcessError with the program's last lines; interrupted, it leaves no descendants."""
    asyncio.run(_run_to_its_end(argv))


async def _run_to_its_end(argv: Sequence[str]) -> None:
    async with started(argv, stdout=PIPE, stderr=STDOUT, grace=GRACE) as child:
        try:
            async with asyncio.timeout(PATIENCE):
                output, _ = await child.communicate()
        except TimeoutError:
            raise ProcessError(f"{argv[0]} did not finish within {PATIENCE:g} s") from None
    if child.returncode:
        last = output.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        raise ProcessError("\n".join(last) or f"{argv[0]} failed without a word")


def _check_python(python: str) -> str:
    """Its version, such as 3.11."""
    program = find_program(python)
    if program is None:
        raise RuntimeMissing(f"{python} was not found; name a Python with --python")
    question = "import sys; print(*sys.version_info[:2])"
    major, minor = (int(word) for word in run([str(program), "-c", question]).split())
    if not OLDEST <= (major, minor) <= NEWEST:
        raise RuntimeMissing(
            f"{python} is Python {major}.{minor}; Triton's Python backend needs 3.11 or 3.12: "
            "name one of them with --python"
        )
    return f"{major}.{minor}"
