"""What nixpkgs' pythonMetadataCheckHook does: a package has the name and version of its wheel.

usage: check_metadata.py SITE-PACKAGES PNAME VERSION
"""

import sys
from importlib.metadata import distributions

from packaging.utils import canonicalize_name
from packaging.version import Version


def main() -> int:
    own, name, version = sys.argv[1:]
    [package] = distributions(path=[own])
    if canonicalize_name(package.metadata["Name"]) != canonicalize_name(name):
        print(f"pname is {name}, and the wheel is {package.metadata['Name']}", file=sys.stderr)
        return 1
    if Version(package.version) != Version(version):
        print(f"{name}: version is {version}, the wheel's {package.version}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
