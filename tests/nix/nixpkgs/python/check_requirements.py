"""What nixpkgs' pythonRuntimeDepsCheck does: every requirement is met by the given dependencies.

usage: check_requirements.py SITE-PACKAGES DEPENDENCY-SITE... -- [RELAXED...]
"""

import sys
from importlib.metadata import Distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def main() -> int:
    cut = sys.argv.index("--")
    [own, *sites], relaxed = sys.argv[1:cut], sys.argv[cut + 1 :]
    [package] = distributions(path=[own])
    available = {
        canonicalize_name(found.metadata["Name"]): found for found in distributions(path=sites)
    }
    problems = [
        text
        for line in package.requires or []
        if (text := problem(Requirement(line), available, relaxed))
    ]
    for text in problems:
        print(f"{package.metadata['Name']} {text}", file=sys.stderr)
    return 1 if problems else 0


def problem(
    requirement: Requirement, available: dict[str, Distribution], relaxed: list[str]
) -> str | None:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    found = available.get(canonicalize_name(requirement.name))
    if found is None:
        return f"requires {requirement}, which is not among its dependencies"
    if requirement.name in relaxed or requirement.specifier.contains(found.version, True):
        return None
    return f"requires {requirement}, and {found.version} is what it gets"


if __name__ == "__main__":
    sys.exit(main())
