"""tools/install-nix.sh: what it refuses, before it touches anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from nix.on_this_machine import ROOT

SCRIPT = ROOT / "tools" / "install-nix.sh"


def install(*arguments: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, SCRIPT, *arguments],
        env={"PATH": str(path)} if path else None,
        capture_output=True,
        text=True,
    )


def test_a_folder_is_asked_for() -> None:
    done = install()
    assert done.returncode == 1
    assert "install-nix.sh DIR" in done.stderr


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    done = install(tmp_path)
    assert done.returncode == 1
    assert "name a new or empty folder" in done.stderr
    assert (tmp_path / "thesis.tex").exists()


def test_a_system_without_apt_is_told_so(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ls", "realpath"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = install(tmp_path / "nix", path=tools)
    assert done.returncode == 1
    assert "apt-get was not found: this works on Debian and Ubuntu only" in done.stderr
    assert not (tmp_path / "nix").exists()


def test_the_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("there is no shellcheck here; it comes with the project's [dev] extra")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
