"""Finds a runtime that `enginix setup` or Nix has made."""

from __future__ import annotations

from pathlib import Path

from enginix.errors import RuntimeMissing, UsageError
from enginix.runtimes.runtime import RECIPES, Recipe, Runtime


def find_recipe(kind: str) -> Recipe:
    if kind not in RECIPES:
        raise UsageError(f"no runtime of kind {kind!r}; there is {', '.join(sorted(RECIPES))}")
    return RECIPES[kind]


def runtime_root(recipe: Recipe, home: Path) -> Path:
    return home / "runtimes" / recipe.directory_name


def is_made(root: Path) -> bool:
    """Whether there is a runtime, and the Python it was made from is still there."""
    return (root / "bin" / "python").exists()


def find_runtime(kind: str, home: Path, override: Path | None = None) -> Runtime:
    """The ready runtime in `override`, else in `home`; RuntimeMissing says how to make it."""
    root = override or runtime_root(find_recipe(kind), home)
    if is_made(root):
        return Runtime(kind, root)
    if override:
        raise RuntimeMissing(
            f"{override} holds no runtime of kind {kind}: expected bin/python in it; "
            f"make one with `enginix setup {kind}` and unset ENGINIX_RUNTIME_*"
        )
    raise RuntimeMissing(
        f"the runtime {kind} is not set up here (looked in {root}); make it with "
        f"`enginix setup {kind}`"
    )
