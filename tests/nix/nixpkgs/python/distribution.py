"""Links one installed distribution, and all that it requires, into a site-packages of their own.

usage: distribution.py NAME TARGET
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def main() -> int:
    name, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True)
    for found in closure(name):
        for entry in top_level(found):
            link = target / entry.name
            if not link.is_symlink():
                link.symlink_to(entry)
    return 0


def closure(name: str) -> list[Distribution]:
    """The distribution and everything it requires here, each once."""
    waiting, found = [name], {}
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed in {sys.prefix}; install the project's [dev] extra")
        for line in found[key].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return list(found.values())


def top_level(found: Distribution) -> set[Path]:
    """What the distribution has directly in site-packages: packages, modules, metadata."""
    site = Path(str(found.locate_file("")))
    names = {Path(str(file)).parts[0] for file in found.files or []}
    return {site / name for name in names - {"..", "__pycache__"}}


if __name__ == "__main__":
    sys.exit(main())
