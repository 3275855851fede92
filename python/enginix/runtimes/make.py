"""Makes a runtime: a virtual environment with exactly a recipe's packages, complete or absent.

It is made in its final directory, because scripts in bin/ contain that path; once it is complete, a
link gives it its name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing, UsageError
from enginix.process import find_program, run
from enginix.runtimes import pip
from enginix.runtimes.find import RECORD, Record, is_made, read_record, runtime_root
from enginix.runtimes.runtime import Recipe, Runtime
from enginix.runtimes.triton_cpu import complete, require_prerequisites

Report = Callable[[str], None]


def make_runtime(
    recipe: Recipe,
    home: Path,
    report: Report,
    *,
    python: str | None = None,
    force: bool = False,
) -> Runtime:
    """Make the runtime unless it exists; `force` remakes it."""
    root = runtime_root(recipe, home)
    root.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root.parent, report):
        _check_name_is_free(recipe, root, force=force)
        if force or not is_made(root):
            _sweep(root.parent)
            try:
                made = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
                made.chmod(0o755)
                _install(recipe, made, _chosen_python(recipe, python), report)
                _put(made, root)
            finally:
                _sweep(root.parent)
    return Runtime(root)


@contextmanager
def _alone(directory: Path, report: Report) -> Iterator[None]:
    """Lock the runtime: two concurrent setups would remove each other's unfinished directory."""
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another `enginix setup` to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_name_is_free(recipe: Recipe, root: Path, *, force: bool) -> None:
    """Refuse to change an environment's kind, or its requirements without --force."""
    if not root.exists() or not (recipe.name or recipe.program):
        return
    record = read_record(root)
    found = f"of kind {record.kind}" if record else "not made by `enginix setup`"
    if record is None or record.kind != recipe.kind:
        raise UsageError(
            f"the environment {root.name!r} is {found}; name another for {recipe.kind} with --env"
        )
    requested, plain = recipe.requirements, (recipe.package,)
    if not force and requested not in (record.requirements, record.requirements[:1], plain):
        raise UsageError(
            f"the environment {root.name!r} was made of {' '.join(record.requirements)}, not "
            f"{' '.join(requested)}; replace it with --force, or make one beside it with --env NAME"
        )


def _sweep(directory: Path) -> None:
    """Remove unfinished and replaced directories, which no link names."""
    named = {path.resolve() for path in directory.iterdir() if path.is_symlink()}
    for path in directory.glob(".*"):
        if path.is_symlink():
            path.unlink()
        elif path.is_dir() and path.resolve() not in named:
            shutil.rmtree(path)


def _put(made: Path, root: Path) -> None:
    """Point the name's link at the new directory."""
    if root.is_dir() and not root.is_symlink():
        shutil.rmtree(root)
    link = made.with_name(f".{root.name}")
    link.symlink_to(made.name)
    os.replace(link, root)


def _install(recipe: Recipe, root: Path, python: str, report: Report) -> None:
    if not recipe.program:
        require_prerequisites(Path(python), _version_of(python), root.parent)
    report(f"making a virtual environment in {root.parent}")
    try:
        pip.run_to_its_end([python, "-m", "venv", str(root)])
    except ProcessError as error:
        version = _version_of(python)
        raise RuntimeMissing(
            f"{python} cannot make a virtual environment; on Debian and Ubuntu: "
            f"apt install python{version}-venv ({pip.last_line(error)})"
        ) from error
    runtime = Runtime(root)
    pip.install(recipe, runtime, report)
    if recipe.program:
        _check_program(recipe, root)
    else:
        complete(runtime)
    record = Record(recipe.kind, recipe.requirements, pip.version_of(runtime, recipe.package))
    (root / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def _check_program(recipe: Recipe, root: Path) -> None:
    if not (root / "bin" / recipe.program).exists():
        raise RuntimeMissing(
            f"{' '.join(recipe.requirements)} brought no bin/{recipe.program}; "
            "choose another version with --version"
        )


def _chosen_python(recipe: Recipe, python: str | None) -> str:
    """The requested Python, else this one, else the newest on PATH with wheels for the recipe."""
    wanted = " or ".join(recipe.pythons)
    if python is not None:
        if (version := _version_of(python)) not in recipe.pythons:
            raise RuntimeMissing(
                f"{python} is Python {version}; {recipe.kind} needs {wanted}: "
                "name one of them with --python"
            )
        return python
    if _version_of(sys.executable) in recipe.pythons:
        return sys.executable
    for version in reversed(recipe.pythons):
        found = find_program(f"python{version}")
        # pyenv has programs for Pythons that it has not installed.
        with suppress(ProcessError):
            if found and _version_of(str(found)) == version:
                return str(found)
    raise RuntimeMissing(
        f"{recipe.kind} needs Python {wanted}, but none is on PATH; install one, or name "
        f"it: `enginix setup {recipe.kind} --python PATH`"
    )


def _version_of(python: str) -> str:
    """The version of a Python, such as 3.11."""
    program = find_program(python)
    if program is None:
        raise RuntimeMissing(f"{python} was not found; name a Python with --python")
    question = "import sys; print(*sys.version_info[:2])"
    return ".".join(run([str(program), "-c", question]).split())
