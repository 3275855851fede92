"""Runtimes are whole or absent, and what keeps one from being made is said with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.errors import RuntimeMissing, UsageError
from enginix.runtimes.find import find_recipe, find_runtime, runtime_root
from enginix.runtimes.make import make_runtime
from enginix.runtimes.runtime import TRITON_CPU, Recipe, Runtime
from enginix.runtimes.triton_cpu import check_runtime, environment, link_backends

SMALL = Recipe("triton-cpu", ("enginix-no-such-package==1",))


def python_that_is(version: str, directory: Path, venv: str = "exit 1") -> str:
    """A program that says it is that Python, and runs `venv` when it is asked for one."""
    path = directory / "python"
    path.write_text(f'#!/bin/sh\ncase "$1" in -c) echo {version} ;; -m) {venv} ;; esac\n')
    path.chmod(0o755)
    return str(path)


def silent(line: str) -> None:
    pass


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="there is triton-cpu"):
        find_recipe("vlmm")


def test_other_requirements_are_another_runtime() -> None:
    assert SMALL.directory_name != TRITON_CPU.directory_name


def test_a_missing_runtime_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="enginix setup triton-cpu"):
        find_runtime("triton-cpu", tmp_path)


def test_an_override_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="expected bin/python in it"):
        find_runtime("triton-cpu", tmp_path, tmp_path / "nix")


def test_an_override_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert find_runtime("triton-cpu", tmp_path / "home", tmp_path).root == tmp_path


def test_a_python_without_stub_is_refused(tmp_path: Path) -> None:
    python = python_that_is("3 9", tmp_path)
    with pytest.raises(RuntimeMissing, match=r"is Python 3\.9; .*3\.11, 3\.12"):
        make_runtime(SMALL, tmp_path, silent, python=python)


def test_a_missing_venv_module_names_its_package(tmp_path: Path) -> None:
    python = python_that_is("3 11", tmp_path, venv="echo ensurepip is not available; exit 1")
    with pytest.raises(RuntimeMissing, match="apt install python3-venv"):
        make_runtime(SMALL, tmp_path, silent, python=python)


def test_a_python_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="was not found; name a Python with --python"):
        make_runtime(SMALL, tmp_path, silent, python="python-of-nowhere")


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="enginix-no-such-package"):
        make_runtime(SMALL, tmp_path, silent)
    assert not list((tmp_path / "runtimes").iterdir())


def test_a_runtime_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    runtime_root(SMALL, tmp_path).mkdir(parents=True)
    assert make_runtime(SMALL, tmp_path, silent).root == runtime_root(SMALL, tmp_path)


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
