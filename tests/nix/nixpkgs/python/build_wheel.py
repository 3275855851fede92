"""Builds the project in the current folder with the backend its pyproject.toml names.

usage: build_wheel.py DIST BUILD-SYSTEM-SITE...
"""

import site
import sys
import tomllib
from importlib import import_module
from pathlib import Path


def main() -> int:
    dist, sites = Path(sys.argv[1]), sys.argv[2:]
    for entry in sites:
        site.addsitedir(entry)
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    dist.mkdir()
    backend = import_module(project["build-system"]["build-backend"])
    print("built", backend.build_wheel(str(dist)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
