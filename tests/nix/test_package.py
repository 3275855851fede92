"""The package `enginix`: what it installs beside the command."""

from __future__ import annotations

import subprocess

import pytest
from nix.on_this_machine import Nix

from enginix.deploy.dashboard import dashboard_text
from enginix.deploy.prometheus import rules_text

pytestmark = pytest.mark.nix


def test_the_package_installs_the_completion_of_three_shells(nix: Nix) -> None:
    [package] = nix.build("enginix")
    for shell, path in (
        ("bash", "bash-completion/completions/enginix.bash"),
        ("zsh", "zsh/site-functions/_enginix"),
        ("fish", "fish/vendor_completions.d/enginix.fish"),
    ):
        made = subprocess.run(
            [package / "bin" / "enginix", "completion", shell], capture_output=True, check=True
        )
        assert (package / "share" / path).read_bytes() == made.stdout
    # It is built without most of the commands.
    [builder] = nix.build("enginix-builder")
    assert not (builder / "share").exists()


def test_the_dashboard_and_the_rules_are_what_the_commands_render(nix: Nix) -> None:
    for name, file, text in (
        ("grafana-dashboard", "enginix.json", dashboard_text()),
        ("prometheus-rules", "enginix.yaml", rules_text()),
    ):
        [folder] = nix.build(name)
        assert [path.name for path in folder.iterdir()] == [file]
        assert (folder / file).read_text() == text


def test_the_stand_in_refuses_a_flag_that_is_not_used_here_and_an_empty_script(nix: Nix) -> None:
    for arguments, complaint in (
        ("--cmd x --nushell /dev/null", "unknown flag --nushell"),
        ("--cmd x --bash /dev/null", "x.bash is empty"),
    ):
        done = nix.build_expression(
            'stdenv.mkDerivation { name = "x"; dontUnpack = true; '
            "nativeBuildInputs = [ installShellFiles ]; "
            f'installPhase = "installShellCompletion {arguments}"; }}'
        )
        assert done.returncode != 0
        assert complaint in done.stderr
