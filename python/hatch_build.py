"""Puts into the package what is not in its folder: Triton's files, and what `render` writes."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FilesFromElsewhere(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root).parent / "triton-repo"
        # An sdist has them in its package, and an editable install reads them where they are.
        if version == "editable":
            return
        if source.is_dir():
            build_data["force_include"][str(source)] = "enginix/triton/templates"
        # The build side alone, for Nix, is made without this folder.
        if self.target_name == "wheel" and Path(self.root, "enginix", "deploy").is_dir():
            self._rendered = TemporaryDirectory()
            for name, text in self._texts().items():
                path = Path(self._rendered.name, name)
                path.write_text(text, encoding="utf-8")
                build_data["force_include"][str(path)] = f"enginix/deploy/{name}"

    def _texts(self) -> dict[str, str]:
        """What people take from the package by hand."""
        sys.path.insert(0, self.root)
        from enginix.deploy.dashboard import dashboard_text
        from enginix.deploy.prometheus import rules_text

        return {"grafana-dashboard.json": dashboard_text(), "prometheus-rules.yaml": rules_text()}
