"""Puts Triton's files, which lie beside this folder in the repository, into the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TritonRepo(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root).parent / "triton-repo"
        # An sdist has them in its package, and an editable install reads them where they are.
        if source.is_dir() and version != "editable":
            build_data["force_include"][str(source)] = "enginix/triton/templates"
