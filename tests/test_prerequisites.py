"""All that a machine lacks is one sentence, with its remedy, before any download."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.prerequisites import (
    DEMO_PORTS,
    PYTHONS,
    Distribution,
    Missing,
    check_disk,
    check_libraries,
    check_platform,
    check_ports,
    check_python,
    check_shared_memory,
    distribution_of,
    sentence,
)
from enginix.serve.profile import load_profile
from enginix.serve.servers import ports_of

ROOT = Path(__file__).parents[1]
DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
UBUNTU_22 = 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n'
FEDORA = 'NAME="Fedora Linux"\nVERSION_ID=43\nID=fedora\nPRETTY_NAME="Fedora Linux 43"\n'
ALPINE = 'ID=alpine\nVERSION_ID=3.22.0\nPRETTY_NAME="Alpine Linux v3.22"\n'

LIBRARIES = [Missing("libgomp.so.1", "libgomp.so.1"), Missing("libpython", "libpython")]


def test_all_that_is_missing_is_one_command_for_apt() -> None:
    missing = [Missing("Python's module venv", "venv"), *LIBRARIES]
    said = sentence(missing, distribution_of(DEBIAN_13), "3.13")
    assert said == (
        "Debian GNU/Linux 13 (trixie) lacks Python's module venv, libgomp.so.1 and libpython; "
        "apt install python3.13-venv libgomp1 libpython3.13 (as root)"
    )


def test_fedora_has_its_own_names_and_command() -> None:
    assert sentence(LIBRARIES, distribution_of(FEDORA), "3.13").endswith(
        "dnf install libgomp python3.13-libs (as root)"
    )


def test_where_the_packages_are_unknown_the_things_are_named() -> None:
    assert sentence(LIBRARIES, distribution_of(ALPINE), "3.12") == (
        "Alpine Linux v3.22 lacks libgomp.so.1 and libpython; install libgomp.so.1 and libpython"
    )


def test_a_python_too_old_names_the_one_the_distribution_has_beside_it() -> None:
    ubuntu = distribution_of(UBUNTU_22)
    said = sentence(check_python("3.10", ubuntu), ubuntu, "3.10")
    assert "(python3 is 3.10)" in said
    assert "apt install python3.11 python3.11-venv libpython3.11 (as root)" in said


def test_where_no_package_has_a_fitting_python_one_is_fetched_only_by_the_user() -> None:
    alpine = distribution_of(ALPINE)
    said = sentence(check_python("3.14", alpine), alpine, "3.14")
    assert "(python3 is 3.14)" in said
    assert "uv python install 3.12" in said


def test_a_library_that_is_not_there_is_missing_and_one_that_is_there_is_not() -> None:
    missing = check_libraries(["libc.so.6", "libno-such-library.so.9"])
    assert [each.what for each in missing] == ["libno-such-library.so.9"]


def test_a_library_beside_the_python_counts(tmp_path: Path) -> None:
    (tmp_path / "libpython3.99.so.1.0").touch()
    assert not check_libraries(["libpython3.99.so.1.0"], [str(tmp_path)])


def test_shared_memory_that_is_absent_or_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert not check_shared_memory(tmp_path)
    (absent,) = check_shared_memory(tmp_path / "shm")
    assert "mount" in absent.remedy
    # Not even root can make a file there.
    (unwritable,) = check_shared_memory(Path("/proc"))
    assert "/proc cannot be written" in unwritable.remedy


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (missing,) = check_ports([port])
        assert str(port) in missing.what
        assert "ARGS=" in missing.remedy
    assert not check_ports([port])


@pytest.mark.parametrize("flag", ["--port", "--http-port", "--grpc-port", "--metrics-port"])
def test_a_taken_port_of_the_demo_is_found_first_and_named_with_its_own_option(
    tmp_path: Path, flag: str
) -> None:
    with a_taken_port() as taken:
        port = taken.getsockname()[1]
        said = subprocess.run(
            [
                *("tools/prepare.sh", sys.executable, tmp_path / "venv", "./python"),
                *("demo", "--host=127.0.0.1", flag, str(port)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 1
    # The demo's own ports may be taken, too.
    assert f"{flag}={port + 100}" in said.stderr
    assert not (tmp_path / "venv").exists()


def test_the_demos_ports_and_options_are_those_of_its_profile() -> None:
    profile = load_profile("demo")
    ports = {"port": profile.gateway.port, **ports_of(profile.models[0])}
    assert {f"--{name.replace('_', '-')}": port for name, port in ports.items()} == {
        flag: port for port, flag in DEMO_PORTS.items()
    }


def test_a_directory_that_is_not_made_yet_is_judged_by_the_disk_it_will_be_on(
    tmp_path: Path,
) -> None:
    assert not check_disk([tmp_path / "not" / "made" / "yet"])


@pytest.mark.parametrize("libc", [("glibc", "2.31"), ("", "")])
def test_an_older_or_another_c_library_is_said(libc: tuple[str, str]) -> None:
    (missing,) = check_platform(libc)
    assert "glibc 2.35 or newer" in missing.what


def test_nixos_is_sent_to_the_flake() -> None:
    nixos = distribution_of('ID=nixos\nPRETTY_NAME="NixOS 26.05"\n')
    assert sentence(LIBRARIES, nixos, "3.13").endswith("; use the flake instead: nix run .#demo")


def test_prepare_tries_the_pythons_that_the_runtime_can_be_made_with() -> None:
    loop = " ".join(f"python{version}" for version in reversed(PYTHONS["x86_64"]))
    assert f"for other in {loop};" in (ROOT / "tools" / "prepare.sh").read_text()


def test_an_unknown_system_is_still_a_sentence() -> None:
    assert sentence(LIBRARIES[:1], Distribution(), "3.12") == (
        "this system lacks libgomp.so.1; install libgomp.so.1"
    )


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_an_old_python_says_the_sentence_itself(version: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [old_python(version), ROOT / "tools" / "check-machine.py", tmp_path, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"(python3 is {version})" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_taken_port_ends_prepare_before_anything_is_made(tmp_path: Path) -> None:
    with a_taken_port() as taken:
        said = prepare(sys.executable, tmp_path / "venv", [taken])
    assert said.returncode == 1
    assert "lacks free port" in said.stderr
    assert not (tmp_path / "venv").exists()


def test_where_python3_does_not_fit_one_beside_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3").chmod(0o755)
    (tmp_path / "python3.11").symlink_to(sys.executable)
    with a_taken_port() as taken:
        said = prepare("python3", tmp_path / "venv", [taken], path=f"{tmp_path}:/usr/bin:/bin")
    assert "python3 is not Python 3.11, 3.12 or 3.13; using python3.1" in said.stdout
    assert "lacks free port" in said.stderr


@pytest.mark.parametrize("has_venv", [False, True])
def test_ctrl_c_while_it_installs_is_one_line(tmp_path: Path, has_venv: bool) -> None:
    python = tmp_path / "python3"
    # As its venv does: it is interrupted, too, and ends with a traceback.
    python.write_text(
        f"#!{sys.executable}\n"
        "import os, signal, subprocess, sys\n"
        "if sys.argv[1:3] != ['-m', 'venv']:\n"
        f"    sys.exit(subprocess.call([{sys.executable!r}, *sys.argv[1:]]))\n"
        "os.killpg(0, signal.SIGINT)\n"
        "raise KeyboardInterrupt\n"
    )
    python.chmod(0o755)
    if has_venv:
        pip = tmp_path / "venv" / "bin" / "pip"
        pip.parent.mkdir(parents=True)
        pip.write_text(
            "#!/bin/sh\necho 'ERROR: Operation cancelled by user'\nkill -INT 0\nexit 1\n"
        )
        pip.chmod(0o755)
    said = subprocess.run(
        ["tools/prepare.sh", python, tmp_path / "venv", "./python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert said.returncode == 130
    assert said.stderr == "enginix: interrupted; run it again to go on\n"


def test_a_failure_of_pip_is_its_first_line_that_says_what_happened(tmp_path: Path) -> None:
    pip = tmp_path / "venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(
        "#!/bin/sh\n"
        "echo '  error: subprocess-exited-with-error'\n"
        "echo '      ModuleNotFoundError: No module named setuptools'\n"
        "echo 'error: metadata-generation-failed'\n"
        "echo 'hint: See above for details.'\n"
        "exit 1\n"
    )
    pip.chmod(0o755)
    said = prepare(sys.executable, tmp_path / "venv", [])
    assert said.returncode == 1
    assert said.stderr.endswith(": ModuleNotFoundError: No module named setuptools\n")


def old_python(version: str) -> str:
    """One that runs: pyenv has a program of that name for a Python it does not have."""
    for directory in (*Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin"), None):
        path = shutil.which(f"python{version}", path=str(directory) if directory else None)
        if path and subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip(f"there is no Python {version} here")


def a_taken_port() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def prepare(
    python: str, venv: Path, ports: list[socket.socket], path: str | None = None
) -> subprocess.CompletedProcess[str]:
    numbers = [str(port.getsockname()[1]) for port in ports]
    return subprocess.run(
        ["tools/prepare.sh", python, str(venv), "./python", *numbers],
        cwd=ROOT,
        env=os.environ | ({"PATH": path} if path else {}),
        capture_output=True,
        text=True,
        check=False,
    )
