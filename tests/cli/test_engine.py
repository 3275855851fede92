"""`enginix engine` end to end: its output, its errors, and the files it leaves behind."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from fakes.made_checkpoint import DEMO, Shape, make_checkpoint

from enginix.cli.main import main
from enginix.runtimes.runtime import Runtime

Enginix = Callable[..., int]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ENGINIX_HOME, which has no runtime."""
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ENGINIX_RUNTIME_TRITON_CPU", raising=False)
    return tmp_path / "home"


@pytest.fixture
def enginix(home: Path) -> Enginix:
    """enginix("build", ...) -> the exit status of `enginix engine build ...`."""
    return lambda *arguments: main(["engine", *map(str, arguments)])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint", Shape(layers=1))


def left_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"checkpoint", "home"}


def test_the_demo_build_prints_one_line_per_stage(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enginix("build", "demo", "--out", tmp_path / "out") == 0

    lines = capsys.readouterr().out.splitlines()
    stages = [line.split()[0] for line in lines[:-1]]
    assert stages == ["inspect", "repack", "hash", "verify", "check", "store"]
    assert "not run: no triton-cpu runtime here" in lines[4]
    assert lines[-1] == f"{tmp_path / 'out'}: demo, kind gguf, 2.6 MB"


def test_a_catalogue_engine_has_a_default_directory(enginix: Enginix, home: Path) -> None:
    assert enginix("build", "demo") == 0

    assert (home / "engines" / "demo" / "manifest.json").exists()


def test_an_engine_is_shown_verified_and_made_again_by_its_name(
    enginix: Enginix, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enginix("build", "demo") == 0

    assert enginix("show", "demo", "--json") == 0
    assert '"name": "demo"' in capsys.readouterr().out
    assert enginix("verify", "demo") == 0
    assert f"{home}/engines/demo: demo, kind gguf" in capsys.readouterr().out
    assert enginix("rebuild", "demo", "--replace") == 0
    assert "rebuilt demo" in capsys.readouterr().out


def test_an_engine_gets_the_name_from_the_option(
    enginix: Enginix, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    assert enginix("build", "--checkpoint", checkpoint, "--name", "mine", "--out", out) == 0

    assert json.loads((out / "manifest.json").read_text())["name"] == "mine"
    assert b"general.name" in (out / "model.gguf").read_bytes()[:2000]


def test_an_unnamed_engine_is_named_after_its_model_type_not_its_directory(
    enginix: Enginix, checkpoint: Path, tmp_path: Path
) -> None:
    assert enginix("build", "--checkpoint", checkpoint, "--out", tmp_path / "out") == 0

    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["name"] == "qwen3"


def test_limits_can_be_given(enginix: Enginix, checkpoint: Path, tmp_path: Path) -> None:
    limits = ("--max-batch-size", 2, "--max-seq-len", 1024)

    assert enginix("build", "--checkpoint", checkpoint, "--out", tmp_path / "out", *limits) == 0

    found = json.loads((tmp_path / "out" / "manifest.json").read_text())["limits"]
    assert (found["max_batch_size"], found["max_seq_len"]) == (2, 1024)


def test_an_existing_output_is_kept_without_replace(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enginix("build", "demo", "--out", tmp_path / "out") == 0

    assert enginix("build", "demo", "--out", tmp_path / "out") == 1
    assert "exists already; name another --out, or pass --replace" in capsys.readouterr().err
    assert enginix("build", "demo", "--out", tmp_path / "out", "--replace") == 0
    assert left_in(tmp_path) == {"out"}


def cut_weights(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", 500_000)


def flip_header(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[100] ^= 0x10
    path.write_bytes(data)


def flip_length(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[5] ^= 0x01
    path.write_bytes(data)


def garbage(name: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).write_bytes(b"\x00\xff\x13garbage") and None


def without(name: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).unlink()


def without_any_tokenizer(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (checkpoint / name).unlink()


def says(name: str, **values: object) -> Callable[[Path], None]:
    def change(checkpoint: Path) -> None:
        path = checkpoint / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def quantized_as(algo: str) -> Callable[[Path], None]:
    return says("hf_quant_config.json", quantization={"quant_algo": algo, "group_size": 16})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("config.json"), "holds no config.json"),
        (without("model.safetensors"), "holds no weights"),
        (without_any_tokenizer, "holds no tokenizer.json, nor a file to make one from"),
        (cut_weights, "is truncated"),
        (flip_header, "model.safetensors"),
        (flip_length, "model.safetensors"),
        (garbage("config.json"), "config.json is not readable JSON"),
        (garbage("hf_quant_config.json"), "hf_quant_config.json is not readable JSON"),
        (garbage("tokenizer.json"), "tokenizer.json"),
        (garbage("model.safetensors"), "is not a safetensors file"),
        (quantized_as("FP8"), "FP8"),
        (quantized_as("W4A16_AWQ"), "W4A16_AWQ"),
        (says("config.json", architectures=["MambaForCausalLM"]), "MambaForCausalLM"),
        (says("config.json", hidden_size=256), "q_proj.weight"),
        (says("config.json", num_hidden_layers=2), "model.layers.1"),
        (says("config.json", vocab_size=100), "lm_head.weight"),
        (says("config.json", num_hidden_layers=None), "num_hidden_layers"),
    ],
)
def test_a_bad_checkpoint_is_refused_in_one_line(
    damage: Callable[[Path], None],
    message: str,
    enginix: Enginix,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(checkpoint)

    assert enginix("build", "--checkpoint", checkpoint, "--out", tmp_path / "out") == 1

    error = capsys.readouterr().err
    assert error.startswith("enginix: ")
    assert error.count("\n") == 1
    assert message in error
    assert left_in(tmp_path) == set()


def test_an_input_dimension_not_divisible_by_64_is_refused(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = make_checkpoint(tmp_path / "checkpoint", Shape(intermediate=208))

    assert enginix("build", "--checkpoint", odd, "--out", tmp_path / "out") == 1

    assert "multiple of 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "nothing to build; name a model of the catalogue"),
        (("demo", "--name", "x"), "the catalogue already names demo; leave out --name"),
        (("demo", "--max-seq-len", "0"), "--max-seq-len: expected at least 1, got 0"),
        (("--checkpoint", DEMO), "no directory was given for the engine; add --out"),
        (("--checkpoint", DEMO, "--name", "../up", "--out", "x"), "--name: expected letters"),
    ],
)
def test_contradictory_options_are_refused(
    arguments: tuple[object, ...],
    sentence: str,
    enginix: Enginix,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert enginix("build", *arguments) == 2

    assert sentence in capsys.readouterr().err


def test_an_unknown_model_is_refused_and_the_nearest_is_suggested(
    enginix: Enginix, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enginix("build", "dmeo") == 1

    assert "no model named 'dmeo' in the catalogue; did you mean demo?" in capsys.readouterr().err


def test_a_named_runtime_that_does_not_exist_is_refused(
    enginix: Enginix,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENGINIX_RUNTIME_TRITON_CPU", str(tmp_path / "nowhere"))

    assert enginix("build", "demo", "--out", tmp_path / "out") == 1

    assert "nowhere holds no runtime of kind triton-cpu" in capsys.readouterr().err


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "enginix", "engine", *map(str, arguments)]


def test_a_file_at_the_size_limit_is_reported_and_removed(home: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        command("build", "demo", "--out", tmp_path / "out"),
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "the engine cannot be written to" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == set()


class BusyBuild:
    """A build of the demo that hangs in its check: the runtime's python only sleeps."""

    def __init__(self, directory: Path) -> None:
        self.out = directory / "out"
        fifo = directory / "fifo"
        python = directory / "runtime" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho $$ > '{fifo}'\nexec sleep 1000\n")
        python.chmod(0o755)
        os.mkfifo(fifo)
        self.process = subprocess.Popen(
            command("build", "demo", "--out", self.out),
            env={**os.environ, "ENGINIX_RUNTIME_TRITON_CPU": str(directory / "runtime")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Under `nohup` the tests ignore SIGHUP, and so would every program they start.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        # Opens once the sleeper has opened the other end.
        self.sleeper = int(fifo.read_text())
        self._gone = os.pidfd_open(self.sleeper)
        fifo.unlink()
        shutil.rmtree(directory / "runtime")

    def end(self, number: signal.Signals) -> str:
        """Send the signal, wait for the end, and return stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate()
        return errors

    def close(self) -> None:
        """End the build, however the test ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        os.close(self._gone)

    def sleeper_is_gone(self, patience: float = 10.0) -> bool:
        """Wait until the sleeper has ended."""
        return bool(select.select([self._gone], [], [], patience)[0])


@pytest.fixture
def begin(home: Path, tmp_path: Path) -> Iterator[Callable[[], BusyBuild]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(BusyBuild(tmp_path)))


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal in this process and so in those that it starts."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_build_in_the_background_of_a_script_can_be_terminated(
    begin: Callable[[], BusyBuild], tmp_path: Path
) -> None:
    # A shell without job control starts background jobs with SIGINT ignored.
    with ignored(signal.SIGINT):
        build = begin()

    build.end(signal.SIGTERM)

    assert build.process.returncode == 143
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [
        (signal.SIGINT, 130, "\nenginix: interrupted\n"),
        (signal.SIGTERM, 143, ""),
        (signal.SIGHUP, 129, ""),
    ],
)
def test_a_terminated_build_leaves_nothing_behind(
    number: signal.Signals, status: int, told: str, begin: Callable[[], BusyBuild], tmp_path: Path
) -> None:
    # The tests may themselves run under `nohup`.
    with ignored(signal.SIGHUP):
        build = begin()

    errors = build.end(number)

    assert build.process.returncode == status
    assert build.sleeper_is_gone()
    assert errors == told
    assert left_in(tmp_path) == set()


def test_a_killed_build_can_be_repeated(
    enginix: Enginix, begin: Callable[[], BusyBuild], tmp_path: Path
) -> None:
    build = begin()

    build.end(signal.SIGKILL)

    assert build.sleeper_is_gone()
    assert left_in(tmp_path) == {".out.building", ".out.lock"}
    assert enginix("build", "demo", "--out", tmp_path / "out") == 0
    assert left_in(tmp_path) == {"out"}
    assert enginix("verify", tmp_path / "out") == 0


def test_a_second_build_of_one_output_is_refused_and_the_first_continues(
    enginix: Enginix,
    begin: Callable[[], BusyBuild],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build = begin()
    assert enginix("build", "demo", "--out", tmp_path / "out") == 1
    assert "another build of" in capsys.readouterr().err
    assert build.process.poll() is None
    build.end(signal.SIGTERM)


def test_verify_prints_what_it_checked(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")
    capsys.readouterr()

    assert enginix("verify", tmp_path / "out") == 0

    assert "103 tensors within model.gguf" in capsys.readouterr().out


def test_verify_refuses_a_damaged_engine_in_one_line(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")
    os.truncate(tmp_path / "out" / "model.gguf", 1000)
    capsys.readouterr()

    assert enginix("verify", tmp_path / "out") == 1

    assert "model.gguf has 1000 bytes, the manifest promises" in capsys.readouterr().err


def test_verify_run_needs_a_runtime(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")

    assert enginix("verify", tmp_path / "out", "--run") == 1

    assert "enginix setup triton-cpu" in capsys.readouterr().err


def test_show_prints_text_for_people(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")
    capsys.readouterr()

    assert enginix("show", tmp_path / "out") == 0

    shown = capsys.readouterr().out
    assert "NVFP4" in shown
    assert "16 requests at a time, 40960 tokens each" in shown


def test_show_prints_json_for_scripts(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")
    capsys.readouterr()

    assert enginix("show", tmp_path / "out", "--json") == 0

    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert json.loads(capsys.readouterr().out) == written


def test_show_reports_what_differs_from_the_manifest(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enginix("build", "demo", "--out", tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").unlink()

    assert enginix("show", tmp_path / "out") == 1

    assert "Not as promised: " in capsys.readouterr().out


def test_a_directory_without_an_engine_is_not_shown(
    enginix: Enginix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enginix("show", tmp_path) == 1

    assert "is not an enginix engine: it has no manifest.json" in capsys.readouterr().err


@pytest.mark.triton
def test_the_demo_engine_is_the_same_with_and_without_its_runtime(
    enginix: Enginix, tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enginix("build", "demo", "--out", tmp_path / "without") == 0
    monkeypatch.setenv("ENGINIX_RUNTIME_TRITON_CPU", str(runtime.root))
    assert enginix("build", "demo", "--out", tmp_path / "with") == 0

    for path in (tmp_path / "with").iterdir():
        assert path.read_bytes() == (tmp_path / "without" / path.name).read_bytes()
    assert enginix("verify", tmp_path / "without", "--run") == 0


@pytest.mark.triton
def test_a_checkpoints_answers_are_recorded_and_reproduced(
    enginix: Enginix,
    checkpoint: Path,
    tmp_path: Path,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENGINIX_RUNTIME_TRITON_CPU", str(runtime.root))

    assert enginix("build", "--checkpoint", checkpoint, "--out", tmp_path / "out") == 0

    check = json.loads((tmp_path / "out" / "manifest.json").read_text())["check"]
    assert len(check) == 4
    assert all(one["answer_ids"] for one in check)
    assert enginix("verify", tmp_path / "out", "--run") == 0
