"""nix/runtime/enter-userland.py, for real: bubblewrap on a tiny root file system."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from nix.container import bwrap
from nix.on_this_machine import ROOT, Nix
from nix.tiny_image import make_image

PROGRAM = ROOT / "nix" / "runtime" / "enter-userland.py"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = bwrap()
    home = tmp_path_factory.mktemp("userland")
    path = home / "spec.json"
    settings = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/vendor/lib", "VENDOR": "yes"}
    image = make_image(home / "image")
    path.write_text(json.dumps({"image": str(image), "bwrap": program, "environment": settings}))
    return path


def enter(spec: Path, *command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", PROGRAM, spec, *command], cwd=cwd, capture_output=True, text=True
    )


@contextmanager
def entered(spec: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-I", PROGRAM, spec, *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_program_sees_the_images_system(spec: Path) -> None:
    assert enter(spec, "cat", "/etc/os-release").stdout == "NAME=tiny\n"
    assert "only-in-the-image" in enter(spec, "ls", "/").stdout


def test_this_machines_programs_are_not_there(spec: Path) -> None:
    assert enter(spec, "python3", "--version").returncode == 127


def test_a_file_has_the_same_path_inside_and_outside(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("weights")
    assert enter(spec, "cat", str(tmp_path / "checkpoint")).stdout == "weights"
    enter(spec, "touch", "engine", cwd=tmp_path)
    assert (tmp_path / "engine").exists()


def test_the_image_cannot_be_written(spec: Path) -> None:
    assert enter(spec, "touch", "/usr/bin/new").returncode != 0


def test_the_images_settings_win_and_the_callers_stay(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("LD_PRELOAD", "")
    words = enter(spec, "env").stdout.splitlines()
    assert {"VENDOR=yes", "PATH=/usr/bin", "CUDA_VISIBLE_DEVICES=3"} <= set(words)
    assert not any(word.startswith("LD_PRELOAD=") for word in words)


def test_the_exit_status_is_the_programs(spec: Path) -> None:
    assert enter(spec, "sh", "-c", "exit 7").returncode == 7


def test_a_signal_lets_the_program_end_in_its_own_time(spec: Path) -> None:
    script = 'trap "echo saved; exit 3" TERM; echo ready; while :; do sleep 0.01; done'
    with entered(spec, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "saved\n"
        assert process.wait() == 3


def test_nothing_is_left_when_it_is_killed(spec: Path) -> None:
    with entered(spec, "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        # End of file: nobody holds the other end any more.
        assert process.stdout.read() == ""


@pytest.mark.nix
def test_the_runtime_from_nix_runs_the_images_programs(
    nix: Nix, spec: Path, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image")
    # Which program it is does not matter here, only that it is the image's.
    (image / "usr" / "bin" / "python3").symlink_to("sh")
    overlay = f'(builtins.getFlake "git+file://{ROOT}").overlays.default'
    config = "config.allowUnfreePredicate = _: true;"
    packages = f"(import {nix.nixpkgs} {{ overlays = [ {overlay} ]; {config} }}).enginixPackages"
    runtime = f"{packages}.tensorrt-llm-runtime.override {{ image = {image}; }}"
    done = nix.build_expression(runtime)
    assert done.returncode == 0, done.stderr
    python = Path(done.stdout.strip()) / "bin" / "python"
    said = subprocess.run(
        [python, "-c", "cat /etc/os-release; echo $LD_LIBRARY_PATH"], capture_output=True, text=True
    )
    assert said.stdout.startswith("NAME=tiny\n")
    assert "/usr/local/tensorrt/lib" in said.stdout


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("enter_userland", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_driver_comes_from_nixos_own_folder(tmp_path: Path) -> None:
    drivers = tmp_path / "run" / "opengl-driver" / "lib"
    drivers.mkdir(parents=True)
    real = tmp_path / "libcuda.so.590"
    real.touch()
    (drivers / "libcuda.so.1").symlink_to(real)
    (drivers / "libGL.so.1").touch()
    assert load().driver_libraries(tmp_path) == {"libcuda.so.1": real}


def test_the_driver_comes_from_where_the_loader_finds_libcuda(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia"
    folder.mkdir()
    for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libc.so.6"):
        (folder / name).touch()
    ldconfig = tmp_path / "sbin" / "ldconfig"
    ldconfig.parent.mkdir()
    line = f"\tlibcuda.so.1 (libc6,x86-64) => {folder}/libcuda.so.1"
    ldconfig.write_text(f"#!/bin/sh\necho '2 libs found'\necho '{line}'\n")
    ldconfig.chmod(0o755)
    assert set(load().driver_libraries(tmp_path)) == {"libcuda.so.1", "libnvidia-ml.so.1"}


def test_the_driver_is_found_before_the_images_libraries() -> None:
    drivers = {"libcuda.so.1": Path("/x/libcuda.so.1")}
    inside = load().environment({}, {"LD_LIBRARY_PATH": "/opt/lib"}, drivers)
    assert inside["LD_LIBRARY_PATH"] == "/.host-driver:/opt/lib"


def test_a_machine_without_a_driver_gets_none(tmp_path: Path) -> None:
    assert load().driver_libraries(tmp_path) == {}
