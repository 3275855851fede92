"""tools/lowest.py: what `make test-lowest` installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "python" / "pyproject.toml"


def lowest(pyproject: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "lowest.py", pyproject]
    return subprocess.run(command, capture_output=True, text=True)


def of(tmp_path: Path, requirement: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\ndependencies = ["{requirement}"]\n', encoding="utf-8")
    return lowest(path)


def test_the_lowest_release_is_pinned_exactly(tmp_path: Path) -> None:
    assert of(tmp_path, "hpack>=4.1,<6,!=5.0").stdout == "hpack==4.1\n"


def test_an_extra_is_no_part_of_a_constraint_and_a_marker_is(tmp_path: Path) -> None:
    asked = "uvicorn[standard]>=0.30; python_version < '3.13'"
    assert of(tmp_path, asked).stdout == 'uvicorn==0.30; python_version < "3.13"\n'


def test_a_dependency_without_a_lowest_release_is_refused(tmp_path: Path) -> None:
    done = of(tmp_path, "hpack<6")
    assert done.returncode == 1
    assert done.stderr == ("lowest.py: hpack<6 has no lowest release; write it as NAME>=VERSION\n")


def test_each_of_our_dependencies_has_one_lowest_release_on_every_python() -> None:
    lines = [Requirement(line) for line in lowest(PYPROJECT).stdout.splitlines()]
    for python in ("3.11", "3.12", "3.13"):
        here = [
            each.name
            for each in lines
            if each.marker is None or each.marker.evaluate({"python_version": python})
        ]
        assert len(here) == len(set(here)) == len({each.name for each in lines}) > 10
