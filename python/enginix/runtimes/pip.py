"""Installs a recipe's packages with a virtual environment's own pip, and explains failures."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections import deque
from collections.abc import Callable, Sequence

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import run, started
from enginix.runtimes.runtime import Recipe, Runtime

Report = Callable[[str], None]

# A server and its CUDA libraries are gigabytes.
PATIENCE = 4 * 3600.0
GRACE = 2.0
LAST_LINES = 100

# pip's messages if it cannot reach an index; it then also claims that the package is missing.
NETWORK_TROUBLE = ("Retrying (", "connection", "timed out", "SSLError", "ProxyError", "getaddrinfo")

# pip's errors that only say that there was an error; tools/prepare.sh has the same list.
SAYS_NOTHING = (
    "subprocess-exited-with-error",
    "generation-failed",
    "Failed to build",
    "ERROR: Exception:",
)

# pip's progress lines.
PROGRESS = ("Downloading ", "Installing collected ")
MAX_LINE_LENGTH = 100


def install(recipe: Recipe, runtime: Runtime, report: Report) -> None:
    """Install; RuntimeMissing says what could not be installed, and why."""
    if not recipe.program:
        for requirement in recipe.requirements_for(runtime.python_version):
            report(f"installing {requirement}")
            # Without dependencies: pytriton's client needs packages that the server does not.
            # Wheels only: compiling from source fails late and obscurely.
            _install(
                recipe, runtime, ["--quiet", "--no-deps", "--only-binary", ":all:"], [requirement]
            )
        return
    report(f"installing {' '.join(recipe.requirements)} and its dependencies (gigabytes)")
    # The server itself is never compiled: that takes hours and a CUDA toolkit.
    options = ["--progress-bar", "off", "--only-binary", recipe.package]
    _install(recipe, runtime, options, [*recipe.requirements, *recipe.beside], report)
    if recipe.without:
        run_to_its_end([*_pip(runtime), "uninstall", "--quiet", "--yes", *recipe.without])
    if recipe.alias:
        _answer_to(recipe.alias, runtime, version_of(runtime, recipe.package))


def version_of(runtime: Runtime, package: str) -> str:
    question = f"from importlib.metadata import version; print(version({package!r}))"
    return run([str(runtime.python), "-c", question]).strip()


def last_line(error: ProcessError) -> str:
    return str(error).strip().splitlines()[-1]


def run_to_its_end(argv: Sequence[str], report: Report | None = None) -> None:
    """Run it; ProcessError has its last lines. On an interrupt, no process is left."""
    asyncio.run(_run_to_its_end(argv, report))


async def _run_to_its_end(argv: Sequence[str], report: Report | None) -> None:
    last: deque[str] = deque(maxlen=LAST_LINES)
    async with started(argv, stdout=PIPE, stderr=STDOUT, grace=GRACE) as child:
        assert child.stdout is not None, "it has a pipe"
        try:
            async with asyncio.timeout(PATIENCE):
                async for line in child.stdout:
                    last.append(line.decode(errors="replace").rstrip())
                    if report:
                        report(last[-1])
                await child.wait()
        except TimeoutError:
            raise ProcessError(f"{argv[0]} did not finish within {PATIENCE:g} s") from None
    if child.returncode:
        raise ProcessError("\n".join(last).strip() or f"{argv[0]} failed without a message")


def _install(
    recipe: Recipe,
    runtime: Runtime,
    options: Sequence[str],
    requirements: Sequence[str],
    report: Report | None = None,
) -> None:
    def report_progress(line: str) -> None:
        if report and line.strip().startswith(PROGRESS):
            report(line.strip()[:MAX_LINE_LENGTH])

    try:
        run_to_its_end([*_pip(runtime), "install", *options, *requirements], report_progress)
    except ProcessError as error:
        why = _why(recipe, runtime, error)
        raise RuntimeMissing(f"{' '.join(requirements)} could not be installed: {why}") from error


def _why(recipe: Recipe, runtime: Runtime, error: ProcessError) -> str:
    message = str(error)
    if any(sign.lower() in message.lower() for sign in NETWORK_TROUBLE):
        return "the package index cannot be reached; check the network or pip's index settings"
    if "No space left on device" in message:
        free = shutil.disk_usage(runtime.root).free / 1e9
        return (
            f"the disk of {runtime.root.parent} is full, {free:.1f} GB are free; free some, or "
            "set ENGINIX_HOME to a directory on a larger one (and TMPDIR, where pip unpacks)"
        )
    if "No matching distribution" in message:
        pythons = " or ".join(recipe.pythons)
        return (
            "there is no wheel of it for this platform and Python; "
            f"it needs Python {pythons}, {recipe.needs}"
        )
    return _reason(message.splitlines())


def _reason(lines: Sequence[str]) -> str:
    """pip's own first error that says what happened, else the program's that it ran."""
    errors = [line.strip() for line in lines if "error: " in line.lower()]
    telling = [line for line in errors if not any(words in line for words in SAYS_NOTHING)]
    own = [line for line in telling if line.startswith("ERROR: ")]
    return (own[:1] or telling[-1:] or errors[-1:] or lines[-1:] or ["it printed nothing"])[0]


def _pip(runtime: Runtime) -> list[str]:
    return [str(runtime.python), "-m", "pip", "--disable-pip-version-check"]


def _answer_to(name: str, runtime: Runtime, version: str) -> None:
    """Make a lookup of that distribution's version return this one's."""
    # vLLM recognizes a CPU build by the local version label "+cpu".
    directory = runtime.site_packages / f"{name}-{version}+cpu.dist-info"
    directory.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}+cpu\n"
    (directory / "METADATA").write_text(text, encoding="utf-8")
