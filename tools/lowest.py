"""Prints the lowest release of each dependency that pyproject.toml allows, as pip's constraints.

usage: lowest.py PYPROJECT
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement


def main() -> int:
    project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    for line in [*project["dependencies"], *extras.get("otel", [])]:
        print(lowest(Requirement(line)))
    return 0


def lowest(requirement: Requirement) -> str:
    bounds = [each.version for each in requirement.specifier if each.operator == ">="]
    if len(bounds) != 1:
        sys.exit(f"lowest.py: {requirement} has no lowest release; write it as NAME>=VERSION")
    where = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={bounds[0]}{where}"


if __name__ == "__main__":
    sys.exit(main())
