"""One nix and one stand-in for nixpkgs for all tests of the flake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from nix.on_this_machine import OLDEST, ROOT, Nix, environment, find_nix, too_old
from nix.stand_in import make_stand_in


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    program = find_nix()
    if program is None:
        pytest.skip("there is no nix here; on Debian and Ubuntu: tools/install-nix.sh .nix")
    if found := too_old(program):
        pytest.skip(f"{program} is {found}, {OLDEST[0]}.{OLDEST[1]} or newer is needed")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("nix reads the flake from git, and this is no git checkout")
    if sys.version_info >= (3, 13):
        # The stand-in lends the flake the Python that runs the tests.
        pytest.skip("the flake's runtime has numpy 1, for Python 3.11 and 3.12 only")
    home = tmp_path_factory.mktemp("nix")
    make_stand_in(home / "nixpkgs")
    yield Nix(program, environment(home / "home"), home / "nixpkgs")
    # pytest would keep the last three of them, half a gigabyte each; and a store's folders are
    # read-only.
    subprocess.run(["chmod", "--recursive", "u+w", str(home)], check=True)
    shutil.rmtree(home)
