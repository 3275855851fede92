"""Finds a runtime made by `enginix setup` or Nix, and the server program in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginix.errors import RuntimeMissing, UsageError
from enginix.process import find_program
from enginix.records import decode_file
from enginix.runtimes.runtime import NAME, TRITON_CPU, Recipe, Runtime, runtime_variable

# Written last into an environment that a user can name; describes it.
RECORD = "environment.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The contents of an environment; `version` is that of its recipe's package."""

    kind: str
    requirements: tuple[str, ...]
    version: str


def named(recipe: Recipe, name: str) -> Recipe:
    """The recipe with that environment name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be an environment's name; expected letters, digits, '.', '_' and "
            "'-', as in vllm-next"
        )
    return replace(recipe, name=name)


def runtime_root(recipe: Recipe, home: Path) -> Path:
    return home / "runtimes" / recipe.directory_name


def is_made(root: Path) -> bool:
    """Whether the runtime exists, and the Python it was made from still does."""
    return (root / "bin" / "python").exists()


def read_record(root: Path) -> Record | None:
    """The record; None for a runtime that a user cannot name."""
    path = root / RECORD

    def failure(reason: str) -> RuntimeMissing:
        return RuntimeMissing(
            f"{reason}; {path} does not say what the environment is: remove {root} and make it "
            "again with `enginix setup`"
        )

    try:
        return decode_file(Record, path, failure)
    except (FileNotFoundError, NotADirectoryError):
        return None


def find_triton_cpu(home: Path, override: Path | None = None) -> Runtime:
    return find_runtime(TRITON_CPU, home, override)


def find_runtime(recipe: Recipe, home: Path, override: Path | None = None) -> Runtime:
    """The runtime in `override`, else in `home`; RuntimeMissing says how to make it."""
    kind = recipe.kind
    root = override or runtime_root(recipe, home)
    if is_made(root):
        return Runtime(root)
    if override:
        raise RuntimeMissing(
            f"{override} holds no runtime of kind {kind}: expected bin/python in it; "
            f"make one with `enginix setup {kind}` and unset ENGINIX_RUNTIME_*"
        )
    raise RuntimeMissing(
        f"the runtime {kind} is not set up here (looked in {root}); make it with "
        f"`enginix setup {kind}`"
    )


def find_server(
    engine: str,
    recipes: Sequence[Recipe],
    home: Path,
    override: Path | None = None,
    environment: str = "",
) -> Path:
    """The program of an engine's `recipes`: from the named environment, else from `override`, else
    from the environment with its kind's name, else from PATH.

    RuntimeMissing says what to install.
    """
    program = recipes[0].program
    if environment:
        return _in_environment(engine, recipes, environment, home)
    variable = runtime_variable(engine)
    if override:
        return _program_in(override, program, f"{variable} names it; unset it or correct it")
    for recipe in recipes:
        root = runtime_root(recipe, home)
        if is_made(root):
            return _program_in(
                root, program, f"make it again: `enginix setup {recipe.kind} --force`"
            )
    if found := find_program(program):
        return found
    kinds = " or ".join(f"`enginix setup --engine {recipe.kind}`" for recipe in recipes)
    raise RuntimeMissing(
        f"{engine} is not installed: no {program} on PATH and no environment of it; make one "
        f"with {kinds}, or set {variable} to an existing one"
    )


def _in_environment(engine: str, recipes: Sequence[Recipe], name: str, home: Path) -> Path:
    recipe = named(recipes[0], name)
    root = runtime_root(recipe, home)
    record = read_record(root)
    if record is None:
        raise RuntimeMissing(
            f"no environment named {recipe.name!r} is set up here (looked in {root}); make it "
            f"with `enginix setup --engine {engine} --env {recipe.name}`"
        )
    if record.kind not in {each.kind for each in recipes}:
        raise RuntimeMissing(
            f"the environment {recipe.name!r} is of kind {record.kind}, which cannot serve "
            f"{engine}; name another, or make one with `enginix setup --engine {engine} --env NAME`"
        )
    again = f"make it again: `enginix setup {record.kind} --env {recipe.name} --force`"
    return _program_in(root, recipe.program, again)


def _program_in(root: Path, program: str, remedy: str) -> Path:
    path = root / "bin" / program
    if not path.exists():
        raise RuntimeMissing(f"{root} has no bin/{program}; {remedy}")
    return path
