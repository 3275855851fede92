"""The stand-in for nixpkgs refuses what nixpkgs refuses, or its green means nothing."""

from __future__ import annotations

import pytest
from nix.on_this_machine import Nix

pytestmark = pytest.mark.nix

# A project of one module that imports hpack.
PACKAGE = """
python312.pkgs.buildPythonPackage {{
  pname = "tiny";
  version = "1";
  pyproject = true;
  src = runCommand "tiny" {{ passAsFile = [ "project" ]; project = ''
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"
    [project]
    name = "tiny"
    version = "1"
    dependencies = ["hpack>={hpack}"]
    [tool.hatch.build.targets.wheel]
    only-include = ["tiny.py"]
  ''; }} "mkdir $out; cp $projectPath $out/pyproject.toml; echo import hpack >$out/tiny.py";
  build-system = [ {build_system} ];
  dependencies = [ {dependencies} ];
  pythonImportsCheck = [ "tiny" ];
}}
"""


def refusal(nix: Nix, expression: str) -> str:
    done = nix.build_expression(expression)
    assert done.returncode != 0
    return done.stderr


def test_a_tool_that_is_no_input_is_not_found(nix: Nix) -> None:
    assert "git: command not found" in refusal(nix, 'runCommand "x" { } "git --version"')


def test_a_name_that_nixpkgs_lacks_is_refused(nix: Nix) -> None:
    assert "does not have: no-such-package" in refusal(
        nix, "callPackage ({ no-such-package }: bash) { }"
    )


def test_an_unfree_license_needs_consent(nix: Nix) -> None:
    unfree = 'runCommand "x" { meta.license = lib.licenses.unfree; } "mkdir $out"'
    assert "unfree" in refusal(nix, unfree)


def test_unknown_metadata_is_refused(nix: Nix) -> None:
    assert "meta.desription" in refusal(nix, 'runCommand "x" { meta.desription = "y"; } ""')


def test_a_wheel_with_another_hash_is_refused(nix: Nix) -> None:
    wheel = """fetchPypi {
      pname = "hpack"; version = "4.1.0"; format = "wheel"; dist = "py3"; python = "py3";
      hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    }"""
    assert "hash mismatch" in refusal(nix, wheel)


def test_a_python_package_is_really_built_and_imported(nix: Nix) -> None:
    with_all = PACKAGE.format(
        hpack="4", build_system="python312.pkgs.hatchling", dependencies="python312.pkgs.hpack"
    )
    done = nix.build_expression(with_all)
    assert done.returncode == 0, done.stderr


def test_a_python_dependency_that_is_forgotten_is_refused(nix: Nix) -> None:
    without = PACKAGE.format(hpack="4", build_system="python312.pkgs.hatchling", dependencies="")
    assert "tiny requires hpack>=4, which is not among its dependencies" in refusal(nix, without)


def test_a_python_dependency_that_is_too_old_is_refused(nix: Nix) -> None:
    newer = PACKAGE.format(
        hpack="999", build_system="python312.pkgs.hatchling", dependencies="python312.pkgs.hpack"
    )
    assert "tiny requires hpack>=999" in refusal(nix, newer)


def test_a_build_backend_that_is_forgotten_is_refused(nix: Nix) -> None:
    other = PACKAGE.format(
        hpack="4", build_system="python312.pkgs.hpack", dependencies="python312.pkgs.hpack"
    )
    assert "No module named 'hatchling'" in refusal(nix, other)


def test_a_library_that_no_input_provides_is_refused(nix: Nix) -> None:
    program = """stdenv.mkDerivation {
      name = "shell"; dontUnpack = true; nativeBuildInputs = [ autoPatchelfHook ];
      installPhase = "mkdir $out; cp --dereference ${bash}/bin/bash $out/";
    }"""
    assert "bash needs libtinfo.so.6, which no input provides" in refusal(nix, program)


def test_an_option_nobody_declared_is_refused(nix: Nix) -> None:
    module = "(lib.evalModules { modules = [ { services.nginx.enable = true; } ]; }).config"
    assert "no option is called services" in refusal(nix, f"builtins.seq {module} bash")
