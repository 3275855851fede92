"""Engines from Nix are the engines from the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from nix.on_this_machine import Nix
from packaging.requirements import Requirement

from enginix.runtimes.runtime import TRITON_CPU
from tests.conftest import contents

pytestmark = pytest.mark.nix

# The stand-in's programs are this machine's, so their folders are let in: nothing else is.
HOST = ("/bin", "/etc", "/lib", "/lib64", "/usr", sys.prefix, sys.base_prefix)
LET_IN = " ".join(path for path in HOST if Path(path).exists())
SANDBOX = ["--option", "sandbox", "true", "--option", "sandbox-paths", LET_IN]


def test_the_demo_engine_is_byte_for_byte_what_the_command_builds(nix: Nix, tmp_path: Path) -> None:
    [from_nix] = nix.build("demo-engine")
    out = tmp_path / "engine"
    command = [sys.executable, "-m", "enginix", "engine", "build", "demo", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert contents(from_nix) == contents(out)


def test_the_demo_engine_is_the_same_when_built_again_in_the_sandbox(nix: Nix) -> None:
    nix.build("demo-engine")
    # Fails when the second build differs by one bit from the first.
    again = nix.run(
        "build", ".#demo-engine", *nix.flake_options, "--no-link", "--rebuild", *SANDBOX,
        check=False,
    )  # fmt: skip
    if "not support the kernel namespaces" in again.stderr:
        pytest.skip("this machine does not let nix make sandboxes")
    assert again.returncode == 0, again.stderr


def test_an_engine_is_not_built_again_when_what_serves_it_changes(nix: Nix) -> None:
    [builder] = nix.build("enginix-builder")
    inputs = nix.run("derivation", "show", ".#demo-engine", *nix.flake_options).stdout
    assert str(builder) in inputs
    [package] = builder.glob("lib/python3.*/site-packages/enginix")
    assert (package / "engine").is_dir()
    assert not any((package / part).exists() for part in ("backends", "gateway", "serve"))


def test_the_runtime_from_nix_holds_what_setup_would_install(nix: Nix) -> None:
    [runtime] = nix.build("triton-cpu-runtime")
    [packages] = runtime.glob("lib/python3.*/site-packages")
    found = {item.name.lower(): item.version for item in distributions(path=[str(packages)])}
    for requirement in map(Requirement, TRITON_CPU.requirements):
        assert requirement.specifier.contains(found[requirement.name])
