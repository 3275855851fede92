"""What a wheel holds beside its modules, whether it is made of a checkout or of an sdist."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from enginix.deploy.dashboard import dashboard_text
from enginix.deploy.prometheus import rules_text

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "enginix"
TEMPLATES = PurePosixPath("enginix/triton/templates")


def built(project: Path, target: str, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


def templates(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {
            str(PurePosixPath(name).relative_to(TEMPLATES)): archive.read(name)
            for name in archive.namelist()
            if PurePosixPath(name).is_relative_to(TEMPLATES)
        }


def in_checkout() -> dict[str, bytes]:
    home = ROOT / "triton-repo"
    files = (path for path in home.rglob("*") if path.is_file())
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }


def test_a_wheel_holds_tritons_files(tmp_path: Path) -> None:
    assert templates(built(ROOT / "python", "wheel", tmp_path)) == in_checkout()


def test_a_wheel_made_of_an_sdist_is_the_same(tmp_path: Path) -> None:
    with tarfile.open(built(ROOT / "python", "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (project,) = (tmp_path / "source").iterdir()

    direct = built(ROOT / "python", "wheel", tmp_path / "direct")
    again = built(project, "wheel", tmp_path / "again")

    assert templates(again) == in_checkout()
    with ZipFile(direct) as one, ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_a_wheel_holds_the_dashboard_and_the_alert_rules(tmp_path: Path) -> None:
    with ZipFile(built(ROOT / "python", "wheel", tmp_path)) as archive:
        names = ("grafana-dashboard.json", "prometheus-rules.yaml")
        found = [archive.read(f"enginix/deploy/{name}").decode() for name in names]
    assert found == [dashboard_text(), rules_text()]


def test_an_installed_wheel_finds_its_own_files(tmp_path: Path) -> None:
    with ZipFile(built(ROOT / "python", "wheel", tmp_path / "wheel")) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
        "from enginix.triton.template_files import TEMPLATES; print(TEMPLATES)"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    )

    assert Path(done.stdout.strip()) == tmp_path / "site" / TEMPLATES


def test_the_package_holds_no_link() -> None:
    assert not [path for path in PACKAGE.rglob("*") if path.is_symlink()]


# What Nix' builders run, which leave the serve side out (nix/packages/enginix-builder.nix).
BUILD_SIDE = """
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple(sys.argv[1].split())):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Missing())
for module in "cli.main", "cli.engine", "cli.checkpoint", "checkpoint.download":
    importlib.import_module(f"enginix.{module}")
"""


def test_the_build_side_is_imported_without_the_serve_side() -> None:
    nix = (ROOT / "nix" / "packages" / "enginix-builder.nix").read_text()
    without = [f"enginix.{name}" for name in re.findall(r"/python/enginix/(\w+)\n", nix)]
    assert "enginix.gateway" in without
    done = subprocess.run(
        [sys.executable, "-c", BUILD_SIDE, " ".join(without)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
