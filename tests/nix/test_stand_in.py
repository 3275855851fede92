"""The stand-in for nixpkgs refuses what nixpkgs refuses, or its green means nothing."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from nix.container import read_json
from nix.on_this_machine import Nix

pytestmark = pytest.mark.nix

# A project of one module that imports hpack.
PACKAGE = """
python3.pkgs.buildPythonPackage {{
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


CERTIFICATES = 'env.SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";'


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


def test_an_alias_of_nixpkgs_is_refused(nix: Nix) -> None:
    assert "does not have: system" in refusal(nix, "callPackage ({ system }: bash) { }")


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
        hpack="4", build_system="python3.pkgs.hatchling", dependencies="python3.pkgs.hpack"
    )
    done = nix.build_expression(with_all)
    assert done.returncode == 0, done.stderr


def test_a_python_dependency_that_is_forgotten_is_refused(nix: Nix) -> None:
    without = PACKAGE.format(hpack="4", build_system="python3.pkgs.hatchling", dependencies="")
    assert "tiny requires hpack>=4, which is not among its dependencies" in refusal(nix, without)


def test_a_python_dependency_that_is_too_old_is_refused(nix: Nix) -> None:
    newer = PACKAGE.format(
        hpack="999", build_system="python3.pkgs.hatchling", dependencies="python3.pkgs.hpack"
    )
    assert "tiny requires hpack>=999" in refusal(nix, newer)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('pname = "tiny"', 'pname = "small"', "pname is small, and the wheel is tiny"),
        ('version = "1";\n  pyp', 'version = "2";\n  pyp', "version is 2, the wheel's 1"),
    ],
)
def test_a_python_package_with_another_name_or_version_than_its_wheel_is_refused(
    nix: Nix, old: str, new: str, complaint: str
) -> None:
    package = PACKAGE.format(
        hpack="4", build_system="python3.pkgs.hatchling", dependencies="python3.pkgs.hpack"
    )
    assert complaint in refusal(nix, package.replace(old, new))


# A wheel that asks for click.
WHEEL = """
python3.pkgs.buildPythonPackage rec {{
  pname = "uvicorn"; version = "0.30.0"; format = "wheel"; {settings}
  src = fetchPypi {{
    inherit pname version format; dist = "py3"; python = "py3";
    hash = "sha256-ePoLX1aruFYgJKWQQcrrVVyG5I0O/dI8P+feekB1vas=";
  }};
}}
"""


def test_the_requirements_of_a_wheel_are_checked_as_well(nix: Nix) -> None:
    assert "uvicorn requires click>=7.0, which is not among its dependencies" in refusal(
        nix, WHEEL.format(settings="")
    )


def test_the_check_of_a_wheels_requirements_can_be_left_out(nix: Nix) -> None:
    done = nix.build_expression(WHEEL.format(settings="dontCheckRuntimeDeps = true;"))
    assert done.returncode == 0, done.stderr


def test_a_module_that_cannot_be_imported_is_refused(nix: Nix) -> None:
    settings = 'dontCheckRuntimeDeps = true; pythonImportsCheck = [ "uvicorn" ];'
    assert "No module named 'click'" in refusal(nix, WHEEL.format(settings=settings))


def test_a_python_package_that_no_cache_has_is_refused(nix: Nix) -> None:
    environment = "python312.withPackages (available: [ available.tokenizers ])"
    assert "python312Packages.tokenizers is in no binary cache" in refusal(nix, environment)


def test_a_package_of_another_python_is_refused(nix: Nix) -> None:
    environment = "python312.withPackages (_: [ python3.pkgs.numpy ])"
    assert "python-numpy is for python3" in refusal(nix, environment)
    package = WHEEL.format(settings="dependencies = [ python3.pkgs.numpy ];")
    assert "Python version mismatch in uvicorn of python312" in refusal(
        nix, package.replace("python3.pkgs.build", "python312.pkgs.build")
    )


def test_an_image_of_another_machine_has_to_be_asked_for(nix: Nix) -> None:
    for asked, got in ("", "linux/amd64"), ("--platform linux/arm64", "linux/arm64"):
        export = f"crane export {asked} registry.example/x:1 -"
        command = f"{export} | tar --extract --to-stdout ./etc/platform >$out"
        inputs = f"{{ nativeBuildInputs = [ crane ]; {CERTIFICATES} }}"
        done = nix.build_expression(f'runCommand "x" {inputs} "{command}"')
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).read_text() == f"{got}\n"


def test_crane_has_no_certificates_but_those_it_is_given(nix: Nix) -> None:
    inputs = f"{{ nativeBuildInputs = [ crane ]; {CERTIFICATES.removeprefix('env.')} }}"
    command = "crane export registry.example/x:1 - >$out"
    assert "certificate signed by unknown authority" in refusal(
        nix, f'runCommand "x" {inputs} "{command}"'
    )


def test_programs_see_the_attributes_in_env_and_no_others(nix: Nix) -> None:
    attributes = '{ WORD = "builder"; env.INNER = "program"; }'
    command = "bash -c 'echo ${WORD:-none} $INNER' >$out; echo $WORD >>$out".replace("${", "''${")
    done = nix.build_expression(f"runCommand \"x\" {attributes} ''{command}''")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_text() == "none program\nbuilder\n"


def test_a_build_backend_that_is_forgotten_is_refused(nix: Nix) -> None:
    other = PACKAGE.format(
        hpack="4", build_system="python3.pkgs.hpack", dependencies="python3.pkgs.hpack"
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


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("meta = { };", "unexpected argument 'meta'"),
        ('config.Command = [ "x" ];', "images know no Command"),
        ('fakeRootCommands = "chown 1000 tmp";', "no fakeroot"),
        ("maxLayers = 1;", "must be greater than 1"),
    ],
)
def test_an_image_is_refused_that_nixpkgs_or_docker_would_not_make(
    nix: Nix, setting: str, complaint: str
) -> None:
    image = f'dockerTools.streamLayeredImage {{ name = "x"; tag = "1"; {setting} }}'
    assert complaint in refusal(nix, image)


def test_a_store_path_that_only_an_images_settings_name_is_in_it(nix: Nix) -> None:
    image = 'dockerTools.streamLayeredImage { name = "X"; tag = "1"; config.Cmd = [ "${bash}" ]; }'
    done = nix.build_expression(image)
    assert done.returncode == 0, done.stderr
    stream = subprocess.run([done.stdout.strip()], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        [manifest] = read_json(tar, "manifest.json")
        inside = []
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                inside += layer.getnames()
    assert manifest["RepoTags"] == ["x:1"]
    assert any(name.endswith("-bash/bin/sh") for name in inside)
