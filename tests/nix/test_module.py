"""The NixOS module: what it turns its options into."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from nix.on_this_machine import Nix

from enginix.serve.profile import load_profile

pytestmark = pytest.mark.nix


@pytest.fixture(scope="module")
def machine(nix: Nix) -> Any:
    """The units and open ports of the machine in nix/checks/module.nix."""
    [path] = nix.build("checks.x86_64-linux.module")
    return json.loads(path.read_text())


def test_a_server_becomes_a_unit_of_its_name(machine: Any) -> None:
    unit = machine["units"]["enginix-demo"]
    assert unit["description"] == load_profile("demo").title
    assert unit["wantedBy"] == ["multi-user.target"]


def test_settings_become_the_commands_flags(machine: Any) -> None:
    words = shlex.split(machine["units"]["enginix-demo"]["script"])
    assert words[0] == "exec"
    assert words[1].endswith("/bin/demo")
    assert words[2:] == ["--host=0.0.0.0", "--port=9000", "--verbose"]


def test_secrets_come_from_a_file_that_is_not_in_the_store(machine: Any) -> None:
    service = machine["units"]["enginix-demo"]["serviceConfig"]
    assert service["EnvironmentFile"] == ["/run/secrets/enginix"]


def test_a_disabled_server_is_no_unit(machine: Any) -> None:
    assert set(machine["units"]) == {"enginix-demo"}


def test_only_named_ports_are_opened(machine: Any) -> None:
    assert machine["ports"] == [9000]
