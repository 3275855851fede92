"""Installs the one wheel in a folder, with its commands wrapped as nixpkgs wraps them.

usage: install_wheel.py DIST TARGET SITE-PACKAGES DEPENDENCY-SITE...
"""

import configparser
import re
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from zipfile import ZipFile

# As in nixpkgs, only the script itself learns where its dependencies are: a program that starts
# `sys.executable -m itself` does not work there, and not here.
SCRIPT = """\
#!{python} -sS
import site, sys
for entry in {sites!r}:
    site.addsitedir(entry)
from {module} import {function}
sys.exit({function}())
"""


def main() -> int:
    dist, target, relative, *dependencies = sys.argv[1:]
    [wheel] = Path(dist).glob("*.whl")
    packages = Path(target) / relative
    packages.mkdir(parents=True)
    with ZipFile(wheel) as archive:
        for member in archive.infolist():
            # A wheel may keep its modules in NAME.data/purelib/ as well.
            member.filename = re.sub(r"^[^/]+\.data/(pure|plat)lib/", "", member.filename)
            unpacked = Path(archive.extract(member, packages))
            if mode := member.external_attr >> 16:
                unpacked.chmod(mode & 0o777 | 0o644)
    write_scripts(packages, Path(target) / "bin", [str(packages), *dependencies])
    # Otherwise root's first import would write caches into the store. Some packages bring templates
    # that are no Python yet: quiet=2.
    compile_dir(packages, quiet=2, workers=0, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return 0


def write_scripts(packages: Path, folder: Path, sites: list[str]) -> None:
    for path in packages.glob("*.dist-info/entry_points.txt"):
        entries = configparser.ConfigParser(delimiters=("=",))
        entries.read(path)
        for name, value in entries["console_scripts"].items():
            module, _, function = value.partition(":")
            folder.mkdir(exist_ok=True)
            python = sys._base_executable  # type: ignore[attr-defined]
            text = SCRIPT.format(python=python, sites=sites, module=module, function=function)
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
