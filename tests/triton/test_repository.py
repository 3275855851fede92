"""Templates and values must fit exactly, and Triton's own schema must accept the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from enginix.errors import EngineMismatch, TemplateMismatch
from enginix.manifest import BuiltWith, Limits, Manifest, Parallelism, Quantization, Source
from enginix.triton.repository import RenderOptions, render_configs, render_repository

GGUF = Manifest(
    name="tiny",
    kind="gguf",
    architecture="Qwen3ForCausalLM",
    source=Source(None, None, {}),
    quantization=Quantization("NVFP4"),
    parallelism=Parallelism(),
    limits=Limits(max_batch_size=3, max_seq_len=512, max_num_tokens=64),
    built_with=BuiltWith("0.1.0"),
    files={},
)


def rendered(engine: Path, out: Path) -> dict[str, model_config_pb2.ModelConfig]:
    render_repository(engine, GGUF, out, RenderOptions(threads=1))
    return {
        path.parent.name: text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        for path in out.glob("*/config.pbtxt")
    }


def test_a_gguf_engine_gets_four_models(tmp_path: Path) -> None:
    models = rendered(tmp_path / "engine", tmp_path / "repository")
    assert set(models) == {"ensemble", "preprocessing", "tensorrt_llm", "postprocessing"}


def test_limits_come_from_the_manifest(tmp_path: Path) -> None:
    model = rendered(tmp_path / "engine", tmp_path / "repository")["tensorrt_llm"]
    assert model.parameters["parallel"].string_value == "3"
    assert model.parameters["context"].string_value == "512"


def test_a_path_with_quotes_survives(tmp_path: Path) -> None:
    engine = tmp_path / 'my "best" engine'
    model = rendered(engine, tmp_path / "repository")["tensorrt_llm"]
    assert model.parameters["gpt_model_path"].string_value == str(engine)


def test_code_is_copied_without_its_caches(tmp_path: Path) -> None:
    rendered(tmp_path / "engine", tmp_path / "repository")
    copied = {path.name for path in (tmp_path / "repository" / "tensorrt_llm" / "1").iterdir()}
    assert "model.py" in copied
    assert "__pycache__" not in copied


def test_every_model_has_its_version_directory(tmp_path: Path) -> None:
    rendered(tmp_path / "engine", tmp_path / "repository")
    assert (tmp_path / "repository" / "ensemble" / "1").is_dir()


def test_a_hole_nobody_fills_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match="no value for size"):
        render_configs({"m": 'name: "m" max_batch_size: ${size}'}, {})


def test_a_value_no_hole_takes_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match="no template has a hole named size"):
        render_configs({"m": 'name: "m"'}, {"size": "1"})


def test_what_triton_cannot_read_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match=r"m/config\.pbtxt is not what Triton reads"):
        render_configs({"m": 'name: "m" max_batch_size: ${size}'}, {"size": "many"})


def test_a_model_must_have_its_directorys_name() -> None:
    with pytest.raises(TemplateMismatch, match="names its model 'other'"):
        render_configs({"m": 'name: "other"'}, {})


def test_a_kind_triton_does_not_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch, match="kind vllm are not served by Triton"):
        render_repository(tmp_path, replace(GGUF, kind="vllm"), tmp_path / "out")
