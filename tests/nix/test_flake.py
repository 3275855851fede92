"""The flake as a whole: it parses, evaluates for every system, and names what the catalogue has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from nix.on_this_machine import ROOT, Nix
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from enginix.catalog.load import load_catalog
from enginix.serve.profile import profile_names

# Engine kinds that Nix has a runtime for.
BUILT = ("gguf", "tensorrt-llm")
NIX_FILES = [
    ROOT / "flake.nix",
    *sorted((ROOT / "nix").rglob("*.nix")),
    *sorted((ROOT / "tests" / "nix").rglob("*.nix")),
]
LONGEST_STRING = 15


@pytest.mark.parametrize("path", NIX_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_nix_string_holds_a_program(path: Path) -> None:
    for text in re.findall(r"''(?!\$)(.*?)''(?![$'\\])", path.read_text(), re.DOTALL):
        assert text.count("\n") <= LONGEST_STRING, f"move this into a file:\n{text}"


@pytest.mark.parametrize("path", NIX_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_nix_file_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#") or "description =" in text or path.name in {"coreutils.nix"}


@pytest.mark.nix
def test_every_nix_file_parses(nix: Nix) -> None:
    # Importing a file parses it and binds its names; what it holds is not evaluated.
    imports = " ".join(f"(import {path})" for path in NIX_FILES)
    nix.run("eval", "--impure", "--expr", f"map builtins.typeOf [ {imports} ]")


@pytest.mark.nix
def test_the_flake_checks_for_every_system_and_leaves_its_lock_alone(nix: Nix) -> None:
    before = (ROOT / "flake.lock").read_bytes()
    nix.run("flake", "check", "--all-systems", *nix.flake_options)
    assert (ROOT / "flake.lock").read_bytes() == before


@pytest.mark.nix
def test_what_builds_on_any_machine_is_checked_and_nothing_else(nix: Nix) -> None:
    checks = set(nix.evaluate("checks.x86_64-linux", "builtins.attrNames"))
    assert {"module", "shell-default", "sources"} <= checks
    packages = {name.removeprefix("package-") for name in checks if name.startswith("package-")}
    assert {"enginix", "demo", "demo-engine", "openai-demo-llama", "triton-cpu-runtime"} <= packages
    assert {"grafana-dashboard", "prometheus-rules"} <= packages
    # These need a download from the hub, NVIDIA's image, or a GPU.
    for model in load_catalog().values():
        assert (f"{model.name}-checkpoint" in packages) == (model.source.directory is not None)
    rendered = {name for name in packages if name.startswith("k8s-")}
    assert {"k8s-demo", "k8s-qwen3-32b-tp4"} <= rendered
    built = packages - rendered
    assert not [name for name in built if "qwen3-32b" in name or "tensorrt-llm" in name]


@pytest.mark.nix
@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_every_model_of_the_catalogue_has_its_packages(nix: Nix, system: str) -> None:
    names = set(nix.evaluate(f"packages.{system}", "builtins.attrNames"))
    for model in load_catalog().values():
        assert f"{model.name}-checkpoint" in names
        for variant in model.variants.values() if model.kind in BUILT else ():
            ranks = variant.tensor_parallel
            suffix = f"-tp{ranks}" if ranks > 1 else ""
            assert {f"{model.name}-engine{suffix}", f"openai-{model.app}{suffix}"} <= names
            assert f"k8s-{model.name}{suffix}" in names


@pytest.mark.nix
def test_every_profile_can_be_run(nix: Nix) -> None:
    programs = "builtins.mapAttrs (_: package: package.meta.mainProgram or null)"
    found = nix.evaluate("packages.x86_64-linux", programs)
    assert {name: found[name] for name in profile_names()} == {
        name: name for name in profile_names()
    }


@pytest.mark.nix
def test_a_profile_is_handed_every_engine_it_serves(nix: Nix) -> None:
    one, several = (
        nix.evaluate(f"packages.x86_64-linux.{name}", "package: package.text")
        for name in ("demo", "demo-multi")
    )
    assert re.search(r"ENGINIX_ENGINE=\S*-demo-engine\b", one)
    assert re.search(r"ENGINIX_ENGINE=\S*-demo-engine:\S*-demo-llama-engine\b", several)
    assert "ENGINIX_RUNTIME_TRITON_CPU=" in several


@pytest.mark.nix
def test_every_package_says_what_it_is(nix: Nix) -> None:
    about = "builtins.mapAttrs (_: package: package.meta.description or null)"
    silent = {
        name for name, text in nix.evaluate("packages.x86_64-linux", about).items() if not text
    }
    assert not silent


@pytest.mark.nix
def test_the_package_has_the_version_of_the_python_project(nix: Nix) -> None:
    project = tomllib.loads((ROOT / "python" / "pyproject.toml").read_text())["project"]
    assert nix.evaluate("enginix", "package: package.version") == project["version"]


@pytest.mark.nix
def test_the_import_check_reaches_every_dependency(nix: Nix) -> None:
    modules = nix.evaluate("enginix", "package: package.pythonImportsCheck")
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    reached = {
        canonicalize_name(distribution)
        for module, distributions in packages_distributions().items()
        for distribution in distributions
        if module in imported
    }
    project = tomllib.loads((ROOT / "python" / "pyproject.toml").read_text())["project"]
    asked = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert asked <= reached


@pytest.mark.nix
def test_only_one_runtime_has_the_older_python_and_none_of_its_packages(nix: Nix) -> None:
    def inputs(name: str) -> set[str]:
        """The names of all that is built for a package."""
        shown = nix.run("derivation", "show", "--recursive", f".#{name}", *nix.flake_options)
        return {derivation["name"] for derivation in json.loads(shown.stdout).values()}

    runtime, rest = inputs("triton-cpu-runtime"), inputs("enginix") | inputs("enginix-builder")
    assert any(name.startswith("python312-") for name in runtime)
    assert not any(name.startswith("python312-") for name in rest)
    # So the stand-in calls a package of nixpkgs' Python.
    assert any(name.startswith("python-") for name in rest)
    assert not any(name.startswith("python-") for name in runtime)
