"""`enginix checkpoint quantize`, with a stand-in for ModelOpt that also fails as it does."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.made_checkpoint import DEMO
from fakes.modelopt import write_environment
from fakes.random_checkpoint import write_checkpoint
from waiting import until

from enginix.cli.main import main

COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
LINES = [f"w{number} w{number + 1} w{number + 2}" for number in range(20)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = write_checkpoint(tmp_path / "bf16", algo=None)
    # A tokenizer that knows English.
    shutil.copy(DEMO / "tokenizer.json", directory)
    return directory


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture(autouse=True)
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_environment(tmp_path / "modelopt")
    monkeypatch.setenv("ENGINIX_RUNTIME_MODELOPT", str(root))


@pytest.fixture
def words(source: Path, calibration: Path, tmp_path: Path) -> list[str]:
    out = f"--out={tmp_path}/out/nvfp4"
    return ["checkpoint", "quantize", str(source), out, f"--calibration={calibration}"]


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").glob("*")}


def test_the_result_is_checked_and_keeps_its_sources_text(
    words: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "LICENSE").write_text("Apache-2.0")
    assert main(words) == 0

    shown = capsys.readouterr().out
    assert "quantize nvfp4, with 20 samples of 1,234 tokens" in shown
    assert "nvfp4: Qwen3ForCausalLM, NVFP4, FP8 KV cache, " in shown
    assert "NVFP4          14 layers: q_proj, k_proj, v_proj, o_proj, gate_proj" in shown
    assert "not quantized  1 layers: lm_head" in shown
    assert "excluded       lm_head, model.embed_tokens" in shown
    assert "before: Qwen3ForCausalLM, not quantized, " in shown
    out = tmp_path / "out" / "nvfp4"
    assert left(tmp_path) == {"nvfp4"}
    for name in (*COPIED, "chat_template.jinja", "LICENSE"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert main(["checkpoint", "inspect", str(out)]) == 0


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("no-modules", "ModelOpt's environment lacks something: No module named 'modelopt'; make"),
        ("unsupported", "ModelOpt's transformers cannot load: The model type `foo` is not"),
        ("weights", "lacks weights of its architecture: model.layers.0.mlp.up_proj.weight"),
        ("gpu-memory", "the GPU's memory was not enough while the model read the calibration"),
        ("memory", "as programs are when memory runs out: it needs at least 0.6 GB, this"),
        ("raises", "while the model read the calibration samples: AssertionError: amax must"),
        ("disk", "no space was left for "),
        ("killed-in-load", "was killed by SIGKILL while it loaded the model, as programs are"),
        ("killed-in-export", "was killed by SIGKILL while it wrote the checkpoint"),
        ("ends-in-calibrate", "exited with status 3; its log is "),
        ("half", "ModelOpt's result is no checkpoint: "),
        ("another-format", "ModelOpt's result states FP8 with a KV cache of FP8"),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_no_checkpoint(
    mode: str,
    sentence: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELOPT_STANDIN_MODE", mode)
    assert main(words) == 1

    error = capsys.readouterr().err
    assert error.startswith("enginix: ")
    assert error.count("\n") == 1
    assert sentence in error
    # The log is what explains it.
    assert left(tmp_path) == {".nvfp4.log"}


def test_samples_of_few_tokens_are_wrong_usage(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELOPT_STANDIN_MODE", "short")
    assert main(words) == 2
    assert "its 20 samples have 60 tokens, expected at least 512" in capsys.readouterr().err


def test_a_hang_is_ended_and_says_what_to_raise(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELOPT_STANDIN_MODE", "hangs-in-calibrate")
    assert main([*words, "--silence-limit=1"]) == 1
    assert "ModelOpt printed nothing and wrote nothing for 1 s" in capsys.readouterr().err
    assert left(tmp_path) == {".nvfp4.log"}


def test_what_a_killed_command_left_is_gone_after_the_next(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "enginix", *words]
    env = {**os.environ, "MODELOPT_STANDIN_MODE": "hangs-in-export"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as first:
        log = out / ".nvfp4.log"
        asyncio.run(until(lambda: log.exists() and "export" in log.read_text(), 120))
        assert main(words) == 1
        assert "another build of" in capsys.readouterr().err
        first.send_signal(signal.SIGKILL)

    assert not (out / "nvfp4").exists()
    assert main(words) == 0
    assert left(tmp_path) == {"nvfp4"}


def test_an_existing_directory_is_never_written_to(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    existing = tmp_path / "out" / "nvfp4" / "notes.txt"
    existing.parent.mkdir(parents=True)
    existing.write_text("mine")
    assert main(words) == 1
    assert "nvfp4 exists already; name another --out\n" in capsys.readouterr().err
    assert existing.read_text() == "mine"
    assert left(tmp_path) == {"nvfp4"}


def test_a_quantized_checkpoint_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words[2] = str(write_checkpoint(tmp_path / "fp8", algo="FP8"))
    assert main(words) == 1
    assert "fp8 is quantized already (FP8); quantize the model" in capsys.readouterr().err


def test_a_half_downloaded_checkpoint_is_refused(
    words: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert main(words) == 1
    assert "model.safetensors is truncated" in capsys.readouterr().err


def test_a_model_larger_than_the_memory_is_refused_with_numbers(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A file that only claims its size: a terabyte of nothing.
    huge = tmp_path / "huge"
    huge.mkdir()
    size = 1 << 40
    tensor = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}
    header = json.dumps({"x.weight": tensor}).encode()
    with (huge / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    (huge / "config.json").write_text('{"architectures": ["HugeForCausalLM"]}')
    words[2] = str(huge)
    assert main([*words, "--device=cpu"]) == 1
    error = capsys.readouterr().err
    assert "the model does not fit: on the CPU it needs at least 1,100.1 GB of memory" in error
    assert not left(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--max-drop=5"], "--max-drop is about --evaluate; add it"),
        (["--evaluate", "--max-drop=-1"], "--max-drop: expected a number of percent, got -1"),
        (["--evaluate=none.txt"], "the text none.txt cannot be read"),
        (["--evaluate=short.txt"], "the text has 3 tokens, expected at least 16"),
        (["--samples=3"], "--samples 3: expected at least 16"),
        (["--length=0"], "--length: expected 1 or more, got 0"),
        (["--silence-limit=0"], "--silence-limit: expected more than 0"),
        (["--env=../x"], "cannot be an environment's name"),
    ],
)
def test_a_wrong_command_line_is_refused_before_the_work(
    arguments: list[str],
    why: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("Hello.")
    assert main([*words, *arguments]) == 2
    assert why in capsys.readouterr().err
    assert not left(tmp_path)


def test_without_modelopt_the_command_that_installs_it_is_named(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("ENGINIX_RUNTIME_MODELOPT")
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    assert main(words) == 1
    assert "make it with `enginix setup modelopt`" in capsys.readouterr().err


def test_a_result_within_the_allowed_drop_is_shown_beside_its_source(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--evaluate", "--max-drop=13"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "evaluate perplexity 1.125 times the source's" in shown
    assert "perplexity 9.00" in shown
    assert "(dequantized weights in float32; activations and cache unquantized)" in shown
    assert "ratio 1.125 of the baseline's perplexity (+12.5 %)" in shown


@pytest.mark.parametrize(
    ("measured", "sentence"),
    [
        ("8 9", "its perplexity is 12.5 % higher, allowed are 5 %"),
        ("8 nan", "computes no probabilities"),
    ],
)
def test_a_result_that_lost_its_mind_is_not_written(
    measured: str,
    sentence: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELOPT_STANDIN_PERPLEXITY", measured)
    assert main([*words, "--evaluate", "--max-drop=5"]) == 1
    assert sentence in capsys.readouterr().err
    assert left(tmp_path) == {".nvfp4.log"}


def test_a_gpu_that_is_full_is_not_left_aside_silently(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELOPT_STANDIN_GPUS", "[1000]")
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "load     on the CPU; the GPU has too little memory free, by ModelOpt" in shown
