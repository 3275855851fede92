"""A runtime is complete or absent, and an error while making one says what to do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from enginix.errors import RuntimeMissing
from enginix.runtimes.find import find_triton_cpu, runtime_root
from enginix.runtimes.make import make_runtime
from enginix.runtimes.runtime import TRITON_CPU, Recipe, Runtime
from enginix.runtimes.triton_cpu import (
    check_runtime,
    environment,
    link_backends,
    require_shared_memory,
)

SMALL = Recipe("triton-cpu", ("enginix-no-such-package==1",))


def python_that_is(version: str, directory: Path, venv: str = "exit 1") -> str:
    """A program that reports that Python version and can run `venv`."""
    path = directory / "python"
    path.write_text(f'#!/bin/sh\ncase "$1" in -c) echo {version} ;; -m) {venv} ;; esac\n')
    path.chmod(0o755)
    return str(path)


def pretend_made(root: Path) -> Path:
    python = root / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def silent(line: str) -> None:
    pass


def test_other_requirements_are_another_runtime() -> None:
    assert SMALL.directory_name != TRITON_CPU.directory_name


def test_a_missing_runtime_names_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="enginix setup triton-cpu"):
        find_triton_cpu(tmp_path)


def test_an_override_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="expected bin/python in it"):
        find_triton_cpu(tmp_path, tmp_path / "nix")


def test_an_override_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert find_triton_cpu(tmp_path / "home", tmp_path).root == tmp_path


def test_a_python_without_stub_is_refused(tmp_path: Path) -> None:
    python = python_that_is("3 9", tmp_path)
    with pytest.raises(RuntimeMissing, match=r"is Python 3\.9; .*3\.11 or 3\.12"):
        make_runtime(SMALL, tmp_path, silent, python=python)


def test_a_missing_venv_module_names_its_package(tmp_path: Path) -> None:
    python = python_that_is("3 11", tmp_path, venv="echo ensurepip is not available; exit 1")
    with pytest.raises(RuntimeMissing, match=r"apt install python3\.11-venv"):
        make_runtime(SMALL, tmp_path, silent, python=python)


def test_a_missing_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="was not found; name a Python with --python"):
        make_runtime(SMALL, tmp_path, silent, python="python-of-nowhere")


@pytest.mark.parametrize("version", ["3 10", "3 13"])
def test_a_python_that_numpy_1_or_triton_lacks_is_refused(version: str, tmp_path: Path) -> None:
    python = python_that_is(version, tmp_path)
    with pytest.raises(RuntimeMissing, match="name one of them with --python"):
        make_runtime(SMALL, tmp_path, silent, python=python)


def test_a_failed_installation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, tmp_path)
    with pytest.raises(RuntimeMissing, match="enginix-no-such-package==1 could not be installed"):
        make_runtime(SMALL, tmp_path, silent)
    assert [path.name for path in (tmp_path / "runtimes").iterdir()] == [".lock"]


def test_a_package_without_a_wheel_names_the_platforms_that_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, tmp_path)
    with pytest.raises(RuntimeMissing, match="no wheel of it for this platform"):
        make_runtime(SMALL, tmp_path, silent)


def test_an_index_that_cannot_be_reached_is_not_a_missing_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    # Nothing listens on port 9.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(RuntimeMissing, match="the package index cannot be reached"):
        make_runtime(SMALL, tmp_path, silent)


def use_index(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Make pip look only in an empty directory."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))


def test_concurrent_setups_wait_for_each_other(tmp_path: Path) -> None:
    directory = tmp_path / "runtimes"
    directory.mkdir()
    lines: list[str] = []
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pretend_made(runtime_root(SMALL, tmp_path))

        def told(line: str) -> None:
            lines.append(line)
            fcntl.flock(lock, fcntl.LOCK_UN)

        made = make_runtime(SMALL, tmp_path, told)
    assert lines == ["waiting for another `enginix setup` to finish"]
    assert made.root == runtime_root(SMALL, tmp_path)


def test_an_existing_runtime_is_not_remade(tmp_path: Path) -> None:
    pretend_made(runtime_root(SMALL, tmp_path))
    assert make_runtime(SMALL, tmp_path, silent).root == runtime_root(SMALL, tmp_path)


def test_a_runtime_whose_python_was_removed_is_remade(tmp_path: Path) -> None:
    python = pretend_made(runtime_root(SMALL, tmp_path))
    python.unlink()
    python.symlink_to("python-of-yesterday")
    with pytest.raises(RuntimeMissing):
        find_triton_cpu(tmp_path)
    with pytest.raises(RuntimeMissing, match="was not found"):
        make_runtime(SMALL, tmp_path, silent, python="python-of-nowhere")


@pytest.mark.triton
def test_the_real_runtime_has_all_it_needs(runtime: Runtime) -> None:
    check_runtime(runtime)


@pytest.mark.triton
def test_the_backend_directory_has_backend_and_stub(runtime: Runtime, tmp_path: Path) -> None:
    link_backends(runtime, tmp_path / "backends")
    names = {path.name for path in (tmp_path / "backends" / "python").iterdir() if path.exists()}
    assert names == {
        "libtriton_python.so",
        "triton_python_backend_utils.py",
        "triton_python_backend_stub",
    }


@pytest.mark.triton
def test_the_server_does_not_see_the_callers_python_path(runtime: Runtime) -> None:
    made = environment(runtime, {"PYTHONPATH": "elsewhere", "PATH": "/usr/bin"})
    assert "PYTHONPATH" not in made
    assert made["PATH"].startswith(f"{runtime.root}/bin:")


def test_unwritable_shared_memory_is_one_sentence() -> None:
    # Not even root can make a file there.
    with pytest.raises(RuntimeMissing, match=r"lacks shared memory; /proc cannot be written"):
        require_shared_memory(Path("/proc"))
