"""The NixOS module: what it turns its options into, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from nix.on_this_machine import ROOT, Nix

from enginix.deploy.systemd import Service, units
from enginix.serve.profile import load_profile

pytestmark = pytest.mark.nix


@pytest.fixture(scope="module")
def machines(nix: Nix) -> Any:
    """Units, open ports and refusals of the machines in nix/checks/module.nix."""
    [path] = nix.build("checks.x86_64-linux.module")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def machine(machines: Any) -> Any:
    """The machine of somebody who wrote its configuration for the module's first version."""
    return machines["first"]


@pytest.fixture(scope="module")
def demo(machines: Any) -> Any:
    return machines["profile"]["units"]["enginix-demo"]


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


def test_a_profile_runs_under_up_with_its_flags_and_keys(demo: Any) -> None:
    words = shlex.split(demo["script"])
    assert words[1].endswith("/bin/enginix-demo")
    assert " up demo " in Path(words[1]).read_text()
    assert words[2:] == [
        "--allowed-host=ai.example",
        "--allowed-host=ai",
        "--drain-seconds=90",
        "--host=0.0.0.0",
        "--port=9100",
        "--set=demo.http_port=8100",
        "--api-keys=$CREDENTIALS_DIRECTORY/api-keys.toml",
    ]


def test_its_engine_and_runtime_come_from_the_store(demo: Any) -> None:
    command = Path(shlex.split(demo["script"])[1]).read_text()
    for variable in ("ENGINIX_ENGINE", "ENGINIX_RUNTIME_TRITON_CPU"):
        found = re.search(rf"{variable}='?([^'\n]+)", command)
        assert found
        assert Path(found[1]).is_dir()


def test_nixos_and_the_command_write_one_unit(demo: Any) -> None:
    service = Service(
        name="enginix-demo",
        description=demo["description"],
        argv=["enginix"],
        user=False,
        drain_seconds=90,
        api_keys=Path("/run/secrets/keys.toml"),
        token=Path("/run/secrets/hf-token"),
        environment={"CUDA_VISIBLE_DEVICES": ""},
        gpu=False,
    )
    lines = unit_text(demo).splitlines()
    rendered = units(service)["enginix-demo.service"].splitlines()

    def setting(line: str) -> bool:
        return bool(line) and not line.startswith(("ExecStart=", "WantedBy=", "["))

    assert sorted(filter(setting, lines)) == sorted(filter(setting, rendered))


def unit_text(unit: Any) -> str:
    """As NixOS writes it, without its script."""

    def lines(table: dict[str, Any]) -> str:
        return "\n".join(
            f"{key}={str(each).lower() if isinstance(each, bool) else each}"
            for key, value in table.items()
            for each in (value if isinstance(value, list) else [value])
        )

    environment = [f"{name}={value}" for name, value in unit["environment"].items()]
    section = {"Description": unit["description"], "Wants": unit["wants"], "After": unit["after"]}
    service = {"ExecStart": "/bin/true", "Environment": environment, **unit["serviceConfig"]}
    return f"[Unit]\n{lines(section)}\n\n[Service]\n{lines(service)}\n"


def test_systemd_finds_nothing_wrong_with_the_units(machines: Any, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here; on Debian it is in the package systemd")
    for name in ("first", "profile", "loaded", "file", "empty"):
        folder = tmp_path / name
        folder.mkdir()
        for unit, content in machines[name]["units"].items():
            (folder / f"{unit}.service").write_text(unit_text(content))
        done = subprocess.run(
            [analyze, "verify", *folder.iterdir()],
            env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"},
            capture_output=True,
            text=True,
            check=False,
        )
        complaints = [line for line in done.stderr.splitlines() if "enginix-" in line]
        assert (done.returncode, complaints) == (0, [])


def test_a_service_without_gpus_sees_no_device(demo: Any) -> None:
    assert demo["serviceConfig"]["PrivateDevices"] is True
    assert "DeviceAllow" not in demo["serviceConfig"]
    assert demo["path"] == []


def test_engines_of_the_start_are_made_by_a_unit_before(machines: Any) -> None:
    box, before = (
        machines["loaded"]["units"][f"enginix-box{suffix}"] for suffix in ("", "-prepare")
    )
    assert "enginix-box-prepare.service" in box["wants"]
    assert box["after"][-1] == box["wants"][-1]
    assert before["serviceConfig"]["Type"] == "oneshot"
    assert shlex.split(before["script"]) == [*shlex.split(box["script"]), "--prepare"]
    command = Path(shlex.split(box["script"])[1]).read_text()
    assert " up --model=demo --model=demo-llama " in command.replace("'", "")
    assert "ENGINIX_ENGINE" not in command
    assert "ENGINIX_RUNTIME_TRITON_CPU" in command
    for key in ("User", "CacheDirectory", "DynamicUser"):
        assert box["serviceConfig"][key] == before["serviceConfig"][key]
    assert box["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_hardening_can_be_switched_off(machines: Any) -> None:
    settings = machines["loaded"]["units"]["enginix-box"]["serviceConfig"]
    assert not settings.keys() & {"ProtectSystem", "SystemCallFilter", "DevicePolicy"}


def test_models_are_a_file_whose_change_is_a_reload(machines: Any) -> None:
    unit, files = machines["file"]["units"]["enginix-chat"], machines["file"]["files"]
    models = json.loads(Path(files["enginix/chat.json"]).read_text())["models"]
    assert (Path(models["demo"]["model_path"]) / "manifest.json").is_file()
    assert unit["reloadTriggers"] == [files["enginix/chat.json"]]
    command = Path(shlex.split(unit["script"])[1]).read_text()
    assert " up --models=/etc/enginix/chat.json " in command.replace("'", "")


def test_the_firewall_opens_the_gateways_port_and_says_who_may_come(machines: Any) -> None:
    assert machines["profile"]["ports"] == [9100]
    assert not machines["profile"]["warnings"]
    (warning,) = machines["empty"]["warnings"]
    assert "whoever reaches port 9000 can use, load and unload its models" in warning


def test_home_manager_gets_the_users_unit(machines: Any) -> None:
    unit = machines["home"]["enginix-demo"]
    command = unit["Service"].pop("ExecStart").replace("'", "")
    assert re.search(r"/bin/demo --port=9100$", command)
    rendered = units(Service("enginix-demo", "", ["/x"], user=True, drain_seconds=30))
    named = set(re.findall(r"^(\w+)=", rendered["enginix-demo.service"], re.MULTILINE))
    assert named - {"Description", "ExecStart", "WantedBy"} == set(unit["Service"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("two-answers", "enginix.demo has profile and models; each says what to run"),
        ("models-of-a-profile", "demo.loadModels is for a service without a profile or a package"),
        ("unknown-model", "box.loadModels has demmo, which is in neither"),
        ("half-a-row", "box.models has a without an engine or a model_path; give each model both"),
        ("unknown-row", "box.loadModels has b, which is in neither"),
        ("keys-in-the-store", "box.apiKeysFile is in the Nix store, where everybody can read it"),
        ("token-in-the-store", "box.hfTokenFile is in the Nix store"),
        ("loopback", "opens port 9000, but the gateway listens on 127.0.0.1 alone"),
        ("port-twice", "demo and services.enginix.other both have the port 9000, 8000, 8001, 8002"),
        ("gateway-twice", "a and services.enginix.b both have the port 9100; give each its own"),
        ("gpu-twice", "a and services.enginix.b both have the GPU 1; give each its own"),
        ("package-at-the-start", 'box.engines is "start", but a package has its engine'),
        ("long-name", "needs a name of at most 23 lower-case letters"),
    ],
)
def test_a_mistake_is_refused_in_a_sentence(machines: Any, name: str, sentence: str) -> None:
    (refusal,) = machines["refused"][name]
    assert refusal.startswith("services.enginix.")
    assert sentence in refusal


def test_nothing_else_is_refused(machines: Any) -> None:
    for name in ("first", "profile", "loaded", "file", "empty"):
        assert machines[name]["refusals"] == []


def test_the_page_of_options_is_current(nix: Nix) -> None:
    made = nix.evaluate("checks.x86_64-linux.nixos-options.text")
    page = ROOT / "docs" / "nixos-options.md"
    assert page.read_text(encoding="utf-8") == made, "copy what that check makes over it"
