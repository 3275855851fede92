"""`enginix engine build --kind edge-llm`, with a stand-in for TensorRT Edge-LLM."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint.models import MODELS, config, llama, write_model
from fakes.edge_llm import install
from fakes.made_checkpoint import DEMO

from enginix.cli.main import main
from enginix.manifest import Limits, read_manifest

Build = Callable[..., int]
SCALE = b"model.layers.0.mlp.up_proj.weight_scale"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("edge-llm") / "runtime")


@pytest.fixture
def build(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """build(...) -> the exit status of `enginix engine build --kind edge-llm --out OUT ...`."""
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGINIX_RUNTIME_EDGE_LLM", str(runtime))
    command = ["engine", "build", "--kind", "edge-llm", "--out", str(tmp_path / "out")]
    return lambda *arguments: main([*command, *map(str, arguments)])


def copied(tmp_path: Path) -> Path:
    return shutil.copytree(DEMO, tmp_path / "checkpoint")


def test_an_engine_is_where_the_server_will_look_with_limits_that_are_no_toys(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("--checkpoint", copied(tmp_path)) == 0
    manifest = read_manifest(tmp_path / "out")
    (plan,) = [name for name in manifest.files if name.endswith("llm.engine")]
    assert plan.startswith("engines/model-")
    assert plan.split("/")[2].startswith("i6144-b4-")
    assert manifest.limits == Limits(4, 8192, 6144)
    assert (manifest.kind, manifest.quantization.algo) == ("edge-llm", "NVFP4")
    assert manifest.quantization.kv_cache_algo == "FP8"
    assert manifest.built_with.compute_capability == "12.0"
    assert manifest.built_with.tensorrt == "10.16.0.72"
    assert manifest.recipe is not None
    assert manifest.recipe.libraries == {"tensorrt-edgellm": "0.11.0"}
    assert manifest.recipe.program[:5] == [
        *("tensorrt-edgellm-build", "--model-dir", "CHECKPOINT", "--engine-dir", "ENGINE")
    ]
    assert "model.safetensors" in manifest.source.files
    assert "KV cache 0.03 GB, all of it at once" in capsys.readouterr().out
    assert main(["engine", "verify", str(tmp_path / "out")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "out"}


def test_a_rebuild_shows_the_command_that_builds_the_same_engine_again(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copied(tmp_path)
    assert build("--checkpoint", checkpoint, "--max-input-len", 5000) == 0
    assert main(["engine", "rebuild", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "is of kind edge-llm, which is not rebuilt from a manifest" in error
    _, shown = error.split("where DIR has its source files: enginix ")
    words = [str(checkpoint) if word == "DIR" else word for word in shlex.split(shown)]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    first, second = (read_manifest(tmp_path / name) for name in ("out", "again"))
    assert first.limits.max_num_tokens == 5000
    assert (second.limits, second.recipe) == (first.limits, first.recipe)


def refused(
    build: Build, capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: object
) -> str:
    """The error; nothing is left at the output."""
    assert build(*arguments) != 0
    assert not (tmp_path / "out").exists()
    return capsys.readouterr().err


def test_a_lost_scale_is_refused_which_the_builder_would_not_notice(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = copied(tmp_path) / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before.replace(SCALE + b'"', SCALE[:-1] + b'X"'))
    assert weights.read_bytes() != before
    error = refused(build, capsys, tmp_path, "--checkpoint", tmp_path / "checkpoint")
    assert "model.layers.0.mlp.up_proj.weight_scale is missing, expected for NVFP4" in error


def test_a_kv_cache_that_would_silently_be_another_is_refused(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied(tmp_path) / "hf_quant_config.json"
    found = path.read_text()
    path.write_text(found.replace('"kv_cache_quant_algo": "FP8"', '"kv_cache_quant_algo": "NVFP4"'))
    assert path.read_text() != found
    plain = tmp_path / "checkpoint" / "config.json"
    stated = json.loads(plain.read_text())
    stated.pop("quantization_config", None)
    plain.write_text(json.dumps(stated))
    error = refused(build, capsys, tmp_path, "--checkpoint", tmp_path / "checkpoint")
    assert "its KV cache is NVFP4, and Edge-LLM would use FP16 without saying so" in error


def test_an_fp8_kv_cache_without_scales_is_refused_before_the_build(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ("k_scale", "v_scale")
    tensors = {name: each for name, each in llama(True).items() if not name.endswith(gone)}
    described = config("LlamaForCausalLM", model_type="llama")
    write_model(tmp_path / "bare", described, tensors, quantized=True)
    error = refused(build, capsys, tmp_path, "--checkpoint", tmp_path / "bare")
    assert "its KV cache is FP8 without stored scales" in error


def test_nvfp4_experts_are_refused_with_the_error_of_quantizing_them_again(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, settings = MODELS["Qwen3MoeForCausalLM"]
    described = config("Qwen3MoeForCausalLM", **settings, model_type="qwen3_moe")
    write_model(tmp_path / "moe", described, tensors(True), quantized=True)
    limits = ("--max-seq-len", 64)
    error = refused(build, capsys, tmp_path, "--checkpoint", tmp_path / "moe", *limits)
    assert "a relative error of 3 % to 28 % on top" in error
    assert "accept that with --requantize-experts" in error
    # What is refused then is another thing: it has no tokenizer.
    accepted = ("--checkpoint", tmp_path / "moe", *limits, "--requantize-experts")
    assert "tokenizer" in refused(build, capsys, tmp_path, *accepted)


def test_a_model_that_it_does_not_know_is_refused_before_anything_runs(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = config("LlamaForCausalLM", model_type="gpt_oss")
    write_model(tmp_path / "other", described, llama(True), quantized=True)
    error = refused(build, capsys, tmp_path, "--checkpoint", tmp_path / "other")
    assert "its model_type is 'gpt_oss'" in error


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        (("--max-seq-len", 2048, "--max-input-len", 2048), "there is no room for an answer"),
        (("--max-seq-len", 100_000), "the model was made for"),
        (("--tp", 2), "Edge-LLM's server runs on one GPU only; leave out --tp"),
    ],
)
def test_limits_that_the_builder_accepts_and_nothing_can_keep_are_refused(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    limits: tuple[object, ...],
    complaint: str,
) -> None:
    error = refused(build, capsys, tmp_path, "--checkpoint", copied(tmp_path), *limits)
    assert complaint in error


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("late", "RuntimeError: build_serialized_network returned None"),
        ("silent", "never listed its engines"),
        ("killed", "memory"),
        ("hang", "--silence-limit"),
    ],
)
def test_a_builder_that_fails_half_way_leaves_its_log_and_no_engine(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    complaint: str,
) -> None:
    monkeypatch.setenv("FAKE_EDGE_BUILD", how)
    patience = ("--silence-limit", 1 if how == "hang" else 60)
    error = refused(build, capsys, tmp_path, "--checkpoint", copied(tmp_path), *patience)
    assert complaint in error
    assert (tmp_path / ".out.work" / "build.log").exists()


def test_a_machine_without_a_payload_is_refused_by_the_environment_itself(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_EDGE_SM", "90")
    error = refused(build, capsys, tmp_path, "--checkpoint", copied(tmp_path))
    assert "TensorRT Edge-LLM 0.11.0 does not run here: Expected one exact native payload" in error


def test_without_its_environment_the_error_says_how_to_make_one(
    build: Build,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ENGINIX_RUNTIME_EDGE_LLM")
    error = refused(build, capsys, tmp_path, "--checkpoint", copied(tmp_path))
    assert "`enginix setup --engine edge-llm`" in error
