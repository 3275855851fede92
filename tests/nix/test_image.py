"""The unpacked container image: each system gets the file system of its own machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from nix.on_this_machine import ROOT, Nix

from enginix.checkpoint.nar import nar_hash

pytestmark = pytest.mark.nix

REFERENCE = "registry.example/triton:1"
PLATFORMS = {"x86_64-linux": "linux/amd64", "aarch64-linux": "linux/arm64"}


def file_system(root: Path, platform: str) -> Path:
    """What the stand-in for crane has for that platform."""
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "image").write_text(f"{REFERENCE}\n")
    (root / "etc" / "platform").write_text(f"{platform}\n")
    return root


@pytest.mark.parametrize("system", PLATFORMS)
def test_the_image_is_that_of_the_systems_own_machine(
    nix: Nix, tmp_path: Path, system: str
) -> None:
    hashes = " ".join(
        f'{name} = "{nar_hash(file_system(tmp_path / name, platform))}";'
        for name, platform in PLATFORMS.items()
    )
    # The stand-in's programs are this machine's for every system, so each can be built here.
    both = f"{nix.env['NIX_CONFIG']}\nextra-platforms = {' '.join(PLATFORMS)}"
    nixpkgs = f'import {nix.nixpkgs} {{ system = "{system}"; config.allowUnfree = true; }}'
    image = f"({nixpkgs}).callPackage {ROOT}/nix/runtime/ngc-image.nix {{ }}"
    done = replace(nix, env={**nix.env, "NIX_CONFIG": both}).build_expression(
        f'{image} {{ release = "1"; reference = "{REFERENCE}"; hashes = {{ {hashes} }}; }}'
    )
    assert done.returncode == 0, done.stderr
    unpacked = Path(done.stdout.strip())
    assert (unpacked / "etc" / "platform").read_text() == f"{PLATFORMS[system]}\n"
