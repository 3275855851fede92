"""The systemd units that `enginix systemd render` writes, and what systemd makes of them."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from enginix.cli import up
from enginix.cli.main import main
from enginix.deploy.systemd import DESCRIPTION, Service, units
from enginix.errors import UsageError
from enginix.gateway.settings import LoadLimits
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry

PROGRAM = "/opt/enginix/bin/enginix"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command is where a service may read it, and is there for systemd to find."""
    program = tmp_path / "enginix"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])


def rendered(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["systemd", "render", *arguments]) == 0
    return capsys.readouterr().out


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def words(text: str) -> list[str]:
    """A unit's command line, as systemd passes it on."""
    (line,) = values(text, "ExecStart")
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def taken(arguments: Sequence[str]) -> argparse.Namespace:
    """What `enginix up` takes these for; SystemExit if it refuses them."""
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("more", [[], ["--user"], ["--prepare"], ["--user", "--prepare"]])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, more: list[str]) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here; on Debian it is in the package systemd")
    keys, out = tmp_path / "my keys 100%.toml", tmp_path / "new" / "units"
    given = ["demo", f"--api-keys={keys}", f"--hf-token={tmp_path}/token", f"--out={out}"]
    assert main(["systemd", "render", *given, *more]) == 0
    files = sorted(out.iterdir())
    assert len(files) == 1 + ("--prepare" in more)
    done = subprocess.run(
        [analyze, "verify", *more[: more.count("--user")], *files],
        env=os.environ | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "enginix-demo" in line]
    assert (done.returncode, complaints) == (0, [])


def test_systemd_calls_the_service_well_protected(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here; on Debian it is in the package systemd")
    assert main(["systemd", "render", "demo", f"--out={tmp_path}"]) == 0
    command = [analyze, "security", "--offline=true", "--threshold=30"]
    done = subprocess.run(
        [*command, tmp_path / "enginix-demo.service"], capture_output=True, text=True, check=False
    )
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a unit that is not loaded")
    assert done.returncode == 0, done.stdout[-200:]


def test_the_command_line_is_what_up_was_to_get(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["demo", "--host=0.0.0.0", "--max-running=64", "--no-access-log", "--drain-seconds=90"]
    given += ["--allowed-host=ai.example", "--set=demo.http_port=8100", "--model-root=/srv/models"]
    text = rendered(capsys, *given)
    program, command, *arguments = words(text)
    assert (program, command) == (sys.argv[0], "up")
    assert vars(taken(arguments)) == vars(taken(given))
    # What it needs to stop, and no less.
    assert int(values(text, "TimeoutStopSec")[0]) == 90 + DESCRIPTION["stop"]["servers"]


def test_no_word_is_taken_for_something_of_systemds() -> None:
    odd = ["--set=a=%h", "$HOME", 'a "b" c', "back\\slash", "it's", "--api-keys=~"]
    service = Service("enginix", "100 %", [PROGRAM, *odd], user=True, drain_seconds=0)
    text = units(service)["enginix.service"]
    assert words(text) == [PROGRAM, *odd]
    assert values(text, "Description") == ["100 %%"]


def test_a_control_character_cannot_begin_another_setting() -> None:
    argv = [PROGRAM, "x\nUser=root"]
    with pytest.raises(UsageError, match="has a control character"):
        units(Service("enginix", "", argv, user=True, drain_seconds=0))


def test_secrets_of_a_service_of_the_system_are_credentials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = rendered(capsys, "demo", "--api-keys=/etc/enginix/keys.toml", "--hf-token=/etc/token")
    assert values(text, "LoadCredential") == [
        "api-keys.toml:/etc/enginix/keys.toml",
        "hf-token:/etc/token",
    ]
    # The suffix tells `up` that the keys have names.
    assert words(text)[-1] == "--api-keys=${CREDENTIALS_DIRECTORY}/api-keys.toml"
    assert "HF_TOKEN_PATH=%d/hf-token" in values(text, "Environment")


def test_a_users_service_reads_the_users_own_files(capsys: pytest.CaptureFixture[str]) -> None:
    text = rendered(capsys, "demo", "--user", "--api-keys=/home/ann/keys", "--hf-token=/home/ann/t")
    assert words(text)[-1] == "--api-keys=/home/ann/keys"
    assert "HF_TOKEN_PATH=/home/ann/t" in values(text, "Environment")
    assert values(text, "WantedBy") == ["default.target"]
    # These are the system manager's.
    assert not values(text, "LoadCredential") + values(text, "DynamicUser") + values(text, "After")


@pytest.mark.parametrize(
    "given",
    [["--models=/home/ann/models.json"], ["demo", "--model-root=/root/models"]],
)
def test_a_service_of_the_system_gets_no_file_out_of_a_home(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["systemd", "render", *given]) == 2
    assert "put it elsewhere, such as in /opt" in capsys.readouterr().err


def test_preparing_runs_once_before_with_the_same_user_files_and_rights(tmp_path: Path) -> None:
    assert main(["systemd", "render", "demo", "--prepare", f"--out={tmp_path}"]) == 0
    service, before = (
        (tmp_path / f"enginix-demo{suffix}.service").read_text() for suffix in ("", "-prepare")
    )
    for key in ("User", "CacheDirectory", "Environment", "SystemCallFilter", "ProtectSystem"):
        assert values(service, key) == values(before, key) != []
    assert "enginix-demo-prepare.service" in values(service, "After")
    assert values(before, "Type") == ["oneshot"]
    assert words(before) == [*words(service), "--prepare"]
    assert taken(words(before)[2:]).prepare


def test_without_hardening_it_still_has_a_user_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = rendered(capsys, "demo", "--no-hardening", "--no-gpu")
    assert values(text, "DynamicUser") == values(text, "PrivateDevices") == ["true"]
    assert not values(text, "SystemCallFilter") + values(text, "ProtectSystem")


def test_the_numbers_that_nix_reads_are_those_of_the_code() -> None:
    assert DESCRIPTION["stop"]["drain"] == LoadLimits().drain
    assert DESCRIPTION["ports"]["gateway"] == GatewayEntry().port
    entry = ModelEntry("m")
    ports = (entry.http_port, entry.grpc_port, entry.metrics_port)
    assert tuple(DESCRIPTION["ports"][name] for name in ("http", "grpc", "metrics")) == ports


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (["demmo"], "no profile named 'demmo'"),
        (["demo", "--name=Demo box"], "--name is 'Demo box'; expected a lower-case letter"),
        (["demo", "--max-running=0"], "--max-running is 0; expected more than 0"),
        (["demo", "--drain-seconds=-5"], "--drain-seconds is -5; expected 0 or more"),
        (["demo", "--drain-seconds=nan"], "--drain-seconds is nan; expected 0 or more"),
        (["demo", "--drain-seconds=90000"], "are 90000 together; expected less than a day"),
        (["demo", "--set=nope=1"], "--set nope=1"),
        (["demo", "--user", "--no-gpu"], "--no-gpu is for a service of the system"),
        (["demo", "--out=/proc/nope"], "--out /proc/nope cannot be written"),
        (["demo", "--out=/etc/hostname"], "--out /etc/hostname is a file; expected a directory"),
        (["demo", "--model=demo"], "leave --models, --model and --engine out"),
    ],
)
def test_a_mistake_is_found_when_the_unit_is_written(
    given: list[str], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["systemd", "render", *given]) == 2
    out, err = capsys.readouterr()
    assert refusal in err
    assert not out
