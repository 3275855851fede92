"""`enginix engine build` for TensorRT-LLM: unquantized models, conversions, adopted engines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.random_checkpoint import Shape, write_checkpoint
from fakes.trtllm_runtime import write_runtime

from enginix.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("quantized") / "qwen3")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named after its repository, in the directory where `checkpoint fetch` puts it."""
    home = tmp_path_factory.mktemp("home")
    directory = home / "checkpoints" / "Qwen--Qwen2.5-7B-Instruct@a09a35458c70"
    directory.parent.mkdir()
    return write_checkpoint(directory, Shape(family="qwen2"), algo=None)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runtime(tmp_path_factory.mktemp("runtime") / "root").parents[1]


@pytest.fixture(autouse=True)
def surroundings(
    tmp_path: Path, plain: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINIX_HOME", str(plain.parents[1]))
    monkeypatch.setenv("ENGINIX_RUNTIME_TENSORRT_LLM", str(runtime))


def build(*arguments: str) -> int:
    return main(["engine", "build", *arguments])


def build_config(directory: str) -> dict[str, object]:
    config = json.loads(Path(directory, "config.json").read_text())
    found: dict[str, object] = config["build_config"]
    return found


def test_an_unquantized_model_is_built_with_one_command(capsys: Capture) -> None:
    line = (
        "--model Qwen/Qwen2.5-7B-Instruct --model-type qwen --dtype float16 --tp-size 1 "
        "--max-batch-size 64 --max-input-len 2048 --max-output-len 1024 --output engine"
    )
    assert build(*line.split()) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("engine: Qwen2.5-7B-Instruct, kind tensorrt-llm, ")
    )
    manifest = json.loads(Path("engine/manifest.json").read_text())
    assert manifest["limits"]["max_batch_size"] == 64
    assert manifest["limits"]["max_seq_len"] == 3072
    assert manifest["source"]["repo"] == "Qwen/Qwen2.5-7B-Instruct"
    assert build_config("engine")["max_input_len"] == 2048


def test_a_commit_may_be_named_with_the_repository(capsys: Capture) -> None:
    source = "Qwen/Qwen2.5-7B-Instruct@a09a35458c70"
    assert build("--model", source, "--max-seq-len", "512", "--out", "engine") == 0
    done = capsys.readouterr()
    assert done.out.splitlines()[-1].startswith("engine: Qwen2.5-7B-Instruct, kind tensorrt-llm")
    assert "not pinned" not in done.err


def test_finished_stages_are_removed_once_the_engine_is_complete(
    checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("--checkpoint", str(checkpoint), "--kind", "tensorrt-llm", "--max-seq-len", "512")
    assert build(*arguments, "--out", "one") == 0
    assert build(*arguments, "--out", "two", "--work-dir", "kept", "--keep-work") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "one", "two"]


def test_a_failed_build_says_how_to_resume(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    arguments = ("--checkpoint", str(checkpoint), "--kind", "tensorrt-llm", "--out", "engine")
    with monkeypatch.context() as broken:
        broken.setenv("TRTLLM_STANDIN_MODE", "crash")
        assert build(*arguments) == 1
    output = capsys.readouterr()
    assert "kept in .engine.work; run the same command to continue" in output.err
    assert "trtllm-build exited with status 1: RuntimeError" in output.err
    assert "Traceback" not in output.err
    assert [path.name for path in tmp_path.iterdir()] == [".engine.work"]
    assert build(*arguments) == 0
    assert "convert  kept from the build before" in capsys.readouterr().out


def test_a_rank_checkpoint_can_be_built_from_repeatedly(checkpoint: Path, capsys: Capture) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--tp", "2", "--max-seq-len", "512"]
    assert main(["engine", "convert", *arguments, "--out", "ranks"]) == 0
    arguments += ["--kind", "tensorrt-llm", "--rank-checkpoint", "ranks", "--out"]
    assert build(*arguments, "engine") == 0
    assert "convert  ranks, compared again" in capsys.readouterr().out
    assert build(*arguments, "smaller", "--max-batch-size", "1") == 0


def test_a_rank_checkpoint_of_another_model_is_refused(checkpoint: Path, capsys: Capture) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--max-seq-len", "512"]
    assert main(["engine", "convert", *arguments, "--tp", "2", "--out", "ranks"]) == 0
    arguments += ["--kind", "tensorrt-llm", "--rank-checkpoint", "ranks", "--tp", "4"]
    assert build(*arguments, "--out", "engine") == 1
    assert "was made from another checkpoint, or for other ranks" in capsys.readouterr().err


def test_an_engine_without_a_manifest_is_checked_against_its_checkpoint(
    checkpoint: Path, plain: Path, capsys: Capture
) -> None:
    arguments = ("--checkpoint", str(checkpoint), "--kind", "tensorrt-llm", "--out", "engine")
    assert build(*arguments) == 0
    Path("engine/manifest.json").unlink()
    assert main(["engine", "verify", "engine"]) == 0
    assert main(["engine", "verify", "engine", "--checkpoint", str(checkpoint)]) == 0
    assert "matches its config.json and " in capsys.readouterr().out
    assert main(["engine", "verify", "engine", "--checkpoint", str(plain)]) == 1


def made_by_hand(checkpoint: Path, *, tokenizer: bool = False) -> None:
    """./engine as trtllm-build would leave it."""
    arguments = ("--checkpoint", str(checkpoint), "--kind", "tensorrt-llm", "--out", "whole")
    assert build(*arguments) == 0
    Path("engine").mkdir()
    for name in ("config.json", "rank0.engine", *(["tokenizer.json"] if tokenizer else [])):
        shutil.copy(f"whole/{name}", "engine")


def test_an_engine_built_by_hand_is_adopted(checkpoint: Path, capsys: Capture) -> None:
    made_by_hand(checkpoint)
    arguments = ["engine", "verify", "engine", "--write-manifest", "--tokenizer", str(checkpoint)]
    assert main(arguments) == 0
    assert "serve it with `enginix triton engine`" in capsys.readouterr().out
    assert main(["engine", "verify", "engine"]) == 0
    assert "engine: engine, kind tensorrt-llm, matches its manifest" in (capsys.readouterr().out)
    assert main(["repository", "render", "./engine", "--out", "repository"]) == 0


def test_an_adopted_engine_can_be_named(checkpoint: Path) -> None:
    made_by_hand(checkpoint, tokenizer=True)
    assert main(["engine", "verify", "engine", "--write-manifest", "--name", "qwen3-32b"]) == 0
    assert json.loads(Path("engine/manifest.json").read_text())["name"] == "qwen3-32b"


def test_serving_an_engine_without_a_manifest_says_how_to_write_one(
    checkpoint: Path, capsys: Capture
) -> None:
    made_by_hand(checkpoint)
    assert main(["triton", "./engine"]) == 1
    assert "`enginix engine verify DIR --write-manifest`" in capsys.readouterr().err
    assert main(["engine", "verify", "engine"]) == 0
    assert "write its manifest.json: add --write-manifest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--write-manifest", 1, "engine has no tokenizer.json"),
        ("--write-manifest --name a/b", 2, "--name: expected letters"),
        ("--write-manifest --unquantized", 1, "which contradicts --unquantized"),
        ("--name qwen3", 2, "need --write-manifest"),
    ],
)
def test_a_refused_engine_gets_no_manifest(
    checkpoint: Path, capsys: Capture, arguments: str, status: int, message: str
) -> None:
    made_by_hand(checkpoint)
    assert main(["engine", "verify", "engine", *arguments.split()]) == status
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in Path("engine").iterdir()) == ["config.json", "rank0.engine"]


def test_the_unquantized_option_prints_a_warning(plain: Path, capsys: Capture) -> None:
    made_by_hand(plain)
    assert main(["engine", "verify", "engine"]) == 1
    assert "quant_algo is null" in capsys.readouterr().err
    assert main(["engine", "verify", "engine", "--unquantized"]) == 0
    assert "assumed to be unquantized because of --unquantized" in capsys.readouterr().err


def test_an_engine_with_a_manifest_is_not_adopted_again(checkpoint: Path, capsys: Capture) -> None:
    made_by_hand(checkpoint)
    assert main(["engine", "verify", "whole", "--write-manifest"]) == 2
    assert "leave out --write-manifest" in capsys.readouterr().err


def test_a_built_engine_is_verified_by_its_manifest(checkpoint: Path, capsys: Capture) -> None:
    arguments = ("--checkpoint", str(checkpoint), "--kind", "tensorrt-llm", "--out", "engine")
    assert build(*arguments) == 0
    assert main(["engine", "verify", "engine"]) == 0
    assert "Qwen3ForCausalLM, NVFP4, FP8 KV cache, 1 rank" in capsys.readouterr().out
    shutil.copy(checkpoint / "config.json", "engine/config.json")
    assert main(["engine", "verify", "engine"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model Foo/Bar", "get it with `enginix pull Foo/Bar`"),
        ("--model {plain} --model-type llama", "expected LlamaForCausalLM"),
        ("--model {plain} --max-output-len 5", "--max-output-len needs --max-input-len"),
        ("--model {plain} --max-input-len 0", "--max-input-len: expected at least 1, got 0"),
        ("--model {plain} --workers 0", "--workers: expected at least 1, got 0"),
        ("--model {plain} --deadline 0", "--deadline: expected more than 0 seconds"),
        ("--model {plain} --checkpoint {plain}", "both name what to build"),
        (
            "--model {plain} --max-seq-len 9 --max-input-len 4 --max-output-len 5",
            "--max-seq-len is --max-input-len plus --max-output-len",
        ),
        ("--model {plain} --max-seq-len 9999", "made for 4096 positions"),
        ("--model {plain} --tp 3", "does not divide"),
    ],
)
def test_an_error_is_one_sentence_and_leaves_nothing(
    plain: Path, tmp_path: Path, capsys: Capture, arguments: str, message: str
) -> None:
    assert build(*arguments.format(plain=plain).split(), "--out", "engine") in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_missing_runtime_names_the_variable_to_set(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("ENGINIX_RUNTIME_TENSORRT_LLM")
    assert build("--model", str(plain), "--out", "engine") == 1
    assert "set ENGINIX_RUNTIME_TENSORRT_LLM" in capsys.readouterr().err


def test_a_runtime_without_python_is_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENGINIX_RUNTIME_TENSORRT_LLM", str(tmp_path))
    assert build("--model", str(plain), "--out", "engine") == 1
    assert "which has no bin/python" in capsys.readouterr().err
