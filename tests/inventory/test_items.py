"""The inventory tells what is here, what it was made from, who needs it and who uses it now."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enginix.inventory.items import Item, take_inventory
from enginix.runtimes.runtime import TRITON_CPU
from tests.inventory.home import COMMIT, SHORT, add_checkpoint, add_engine, add_runtime, held


def item(home: Path, name: str) -> Item:
    (found,) = [each for each in take_inventory(home) if each.name == name]
    return found


@contextmanager
def program(*words: object, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """One that has these words in its command line, and runs."""
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        try:
            yield process
        finally:
            process.kill()


def test_an_empty_home_holds_nothing(tmp_path: Path) -> None:
    assert take_inventory(tmp_path / "home") == []


def test_an_engine_says_its_kind_its_weights_and_its_checkpoint(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine", "org/demo")
    add_checkpoint(tmp_path, "org/demo")

    engine = item(tmp_path, "mine")

    assert (engine.what, engine.detail, engine.quantization) == ("engine", "gguf", "NVFP4")
    assert (engine.revision, engine.pinned) == (COMMIT, False)
    assert engine.made_from == f"org/demo@{SHORT}"
    assert 1000 < engine.size_bytes < 3000


def test_a_checkpoint_says_its_architecture_and_which_engines_are_of_it(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine", "org/demo")
    add_engine(tmp_path, "other", "org/other")
    add_checkpoint(tmp_path, "org/demo")

    checkpoint = item(tmp_path, f"org/demo@{SHORT}")

    assert (checkpoint.detail, checkpoint.quantization) == ("Qwen3ForCausalLM", "NVFP4")
    assert checkpoint.needed_by == ("mine",)


def test_an_engine_whose_checkpoint_is_gone_still_says_what_it_was(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine", "org/demo")
    assert item(tmp_path, "mine").made_from == f"org/demo@{SHORT}"


def test_a_runtime_serves_the_engines_of_its_kind(tmp_path: Path) -> None:
    add_runtime(tmp_path, TRITON_CPU.directory_name, "triton-cpu")
    add_runtime(tmp_path, "vllm")
    add_engine(tmp_path, "mine")

    assert item(tmp_path, TRITON_CPU.directory_name).needed_by == ("mine",)
    assert item(tmp_path, "vllm").needed_by == ()
    assert item(tmp_path, "vllm").detail == "vllm 1.2"


def test_what_is_damaged_is_listed_with_the_reason(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "mine")
    (engine / "model.gguf").write_bytes(b"short")
    (tmp_path / "engines" / "empty").mkdir()
    (tmp_path / "checkpoints" / "org--demo@0123").mkdir(parents=True)

    assert "has 5 bytes, the manifest promises 1000" in str(item(tmp_path, "mine").note)
    assert "has no manifest.json" in str(item(tmp_path, "empty").note)
    assert "holds no config.json" in str(item(tmp_path, "org/demo@0123").note)


def test_work_in_progress_is_no_item(tmp_path: Path) -> None:
    (tmp_path / "engines" / ".mine.building").mkdir(parents=True)
    (tmp_path / "checkpoints" / "org--demo@0123.partial").mkdir(parents=True)
    (tmp_path / "runtimes" / ".vllm-abcd").mkdir(parents=True)
    assert take_inventory(tmp_path) == []


def test_a_checkpoint_named_on_a_running_command_line_is_in_use(tmp_path: Path) -> None:
    checkpoint = add_checkpoint(tmp_path, "org/demo")
    add_checkpoint(tmp_path, "org/demo", "f" * 40)

    with program("serve", f"--model={checkpoint}") as server:
        assert f"(process {server.pid})" in item(tmp_path, f"org/demo@{SHORT}").users
        assert item(tmp_path, "org/demo@ffffffffffff").in_use_by == ()
    assert item(tmp_path, f"org/demo@{SHORT}").in_use_by == ()


def test_a_path_is_found_from_where_the_program_works(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine")
    with program("triton", "./mine", cwd=tmp_path / "engines"):
        assert item(tmp_path, "mine").in_use_by


def test_an_engine_served_by_its_name_is_in_use(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine")
    with program("enginix", "triton", "mine"):
        assert item(tmp_path, "mine").in_use_by
    with program("enginix", "engine", "show", "mine"):
        assert item(tmp_path, "mine").in_use_by == ()


def test_a_name_that_begins_alike_is_not_in_use(tmp_path: Path) -> None:
    add_engine(tmp_path, "mine")
    with program(tmp_path / "engines" / "mine2"):
        assert item(tmp_path, "mine").in_use_by == ()


def test_an_open_file_is_in_use(tmp_path: Path) -> None:
    engine = add_engine(tmp_path, "mine")
    with (
        (engine / "model.gguf").open() as file,
        subprocess.Popen(["sleep", "60"], stdin=file) as reader,
    ):
        try:
            assert f"sleep 60 (process {reader.pid})" == item(tmp_path, "mine").users
        finally:
            reader.kill()


def test_what_a_supervisor_elsewhere_serves_is_in_use_while_its_lock_is_held(
    tmp_path: Path,
) -> None:
    engine = add_engine(tmp_path, "mine")
    run = tmp_path / "run" / "team-9000"
    run.mkdir(parents=True)
    row = {"name": "mine", "engine": "triton", "directory": str(engine)}
    (run / "gateway.json").write_text(json.dumps({"models": [row]}))

    with held(tmp_path / "run" / "team-9000.lock"):
        assert item(tmp_path, "mine").users == "`enginix up` of team on port 9000"
    assert item(tmp_path, "mine").in_use_by == ()
