"""Templates and values must fit exactly, and Triton's own schema must accept the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from enginix.errors import EngineMismatch, TemplateMismatch
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    manifest_hash,
    write_manifest,
)
from enginix.triton.server.repository import RenderOptions, render_configs, render_repository
from tests.triton.engines import tensorrt_llm_manifest

GENERATIONS = {
    "1.2.1": ("seed", "min_tokens", "num_input_tokens"),
    "0.18.2": ("random_seed", "min_length", None),
}
EITHER = {"seed", "random_seed", "min_tokens", "min_length"}

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


def rendered(
    engine: Path, out: Path, manifest: Manifest = GGUF, options: RenderOptions | None = None
) -> dict[str, model_config_pb2.ModelConfig]:
    engine.mkdir(parents=True, exist_ok=True)
    write_manifest(engine, manifest)
    render_repository(engine, manifest, out, options)
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


@pytest.mark.parametrize("manifest", [GGUF, tensorrt_llm_manifest()])
def test_the_model_says_which_engine_it_serves(tmp_path: Path, manifest: Manifest) -> None:
    models = rendered(tmp_path / "engine", tmp_path / "repository", manifest)
    said = models["tensorrt_llm"].parameters["enginix_engine"].string_value
    assert said == manifest_hash(tmp_path / "engine")


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


def tensorrt_llm(
    directory: Path, version: str | None = "1.2.1", options: RenderOptions | None = None
) -> dict[str, model_config_pb2.ModelConfig]:
    manifest = tensorrt_llm_manifest(built_with=BuiltWith("0.1.0", tensorrt_llm=version))
    return rendered(directory / "engine", directory / "repository", manifest, options)


def names(tensors: Iterable[Any]) -> set[str]:
    return {tensor.name for tensor in tensors}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_tensorrt_llm_engine_gets_nvidias_five_models(tmp_path: Path, ranks: int) -> None:
    manifest = tensorrt_llm_manifest(ranks)
    models = rendered(tmp_path / "engine", tmp_path / "repository", manifest)
    assert set(models) == {
        *("ensemble", "preprocessing", "tensorrt_llm", "postprocessing", "tensorrt_llm_bls")
    }


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("model", ["tensorrt_llm", "ensemble", "tensorrt_llm_bls"])
def test_a_generation_of_tensorrt_llm_has_its_own_names(
    tmp_path: Path, model: str, version: str
) -> None:
    config = tensorrt_llm(tmp_path, version)[model]
    seed, least, count = GENERATIONS[version]
    assert names(config.input) & EITHER == {seed, least}
    assert ("num_input_tokens" in names(config.output)) == (count is not None)
    assert ("return_num_input_tokens" in names(config.input)) == (count is not None)


@pytest.mark.parametrize("version", [None, "1.3.0rc20", "0.19.0"])
def test_everything_else_gets_the_newer_names(tmp_path: Path, version: str | None) -> None:
    assert "seed" in names(tensorrt_llm(tmp_path, version)["tensorrt_llm"].input)


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_step_of_the_ensemble_maps_only_tensors_that_are_there(
    tmp_path: Path, version: str
) -> None:
    models = tensorrt_llm(tmp_path, version)
    ensemble = models["ensemble"]
    made = names(ensemble.input)
    for step in ensemble.ensemble_scheduling.step:
        model = models[step.model_name]
        assert set(step.input_map) <= names(model.input)
        assert set(step.output_map) <= names(model.output)
        assert set(step.input_map.values()) <= made
        made |= set(step.output_map.values())
    assert names(ensemble.output) <= made


@pytest.mark.parametrize("version", GENERATIONS)
def test_no_input_of_the_ensemble_goes_nowhere(tmp_path: Path, version: str) -> None:
    ensemble = tensorrt_llm(tmp_path, version)["ensemble"]
    steps = ensemble.ensemble_scheduling.step
    used = {name for step in steps for name in step.input_map.values()}
    assert names(ensemble.input) <= used


def test_the_bls_model_has_the_ensembles_tensors(tmp_path: Path) -> None:
    models = tensorrt_llm(tmp_path)
    ensemble, bls = models["ensemble"], models["tensorrt_llm_bls"]
    assert list(ensemble.input) == list(bls.input)
    assert list(ensemble.output) == list(bls.output)


@pytest.mark.parametrize(("batch", "processes"), [(1, 1), (8, 8), (256, 16)])
def test_the_bls_model_has_a_process_for_each_request_up_to_sixteen(
    tmp_path: Path, batch: int, processes: int
) -> None:
    manifest = tensorrt_llm_manifest()
    manifest = replace(manifest, limits=replace(manifest.limits, max_batch_size=batch))
    models = rendered(tmp_path / "engine", tmp_path / "repository", manifest)
    assert models["tensorrt_llm_bls"].instance_group[0].count == processes


def test_only_lengths_are_required_of_a_request_in_tokens(tmp_path: Path) -> None:
    inputs = tensorrt_llm(tmp_path)["tensorrt_llm"].input
    required = [tensor for tensor in inputs if not tensor.optional]
    assert names(required) == {"input_lengths", "request_output_len"}


def test_the_server_starts_the_engine_as_its_manifest_says(tmp_path: Path) -> None:
    options = RenderOptions(kv_cache_fraction=0.5, executor_worker=Path("/ts/worker"))
    model = tensorrt_llm(tmp_path, options=options)["tensorrt_llm"]
    parameters = {name: value.string_value for name, value in model.parameters.items()}
    assert model.max_batch_size == 8
    assert model.model_transaction_policy.decoupled
    assert parameters["gpt_model_path"] == str(tmp_path / "engine")
    assert parameters["gpt_model_type"] == "inflight_fused_batching"
    assert parameters["kv_cache_free_gpu_mem_fraction"] == "0.5"
    assert parameters["executor_worker_path"] == "/ts/worker"
    assert not [value for value in parameters.values() if "$" in value]


def guided_decoding(directory: Path) -> list[str]:
    parameters = tensorrt_llm(directory)["tensorrt_llm"].parameters
    names = ("guided_decoding_backend", "xgrammar_tokenizer_info_path")
    # NVIDIA's model does not load where either is missing.
    assert set(names) <= set(parameters)
    return [parameters[name].string_value for name in names]


def test_an_engine_that_knows_its_vocabulary_decodes_guided(tmp_path: Path) -> None:
    path = tmp_path / "engine" / "xgrammar_tokenizer_info.json"
    path.parent.mkdir()
    path.write_text("{}")
    assert guided_decoding(tmp_path) == ["xgrammar", str(path)]


def test_one_that_does_not_says_so(tmp_path: Path) -> None:
    assert guided_decoding(tmp_path) == ["", ""]


@pytest.mark.parametrize(("step", "chunked"), [(8192, "true"), (16384, "false")])
def test_prompts_longer_than_a_step_are_read_in_chunks(
    tmp_path: Path, step: int, chunked: str
) -> None:
    manifest = tensorrt_llm_manifest(limits=Limits(8, 16384, step))
    model = rendered(tmp_path / "engine", tmp_path / "repository", manifest)["tensorrt_llm"]
    assert model.parameters["enable_chunked_context"].string_value == chunked


def test_a_hole_without_a_value_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match="no value for size"):
        render_configs({"m": 'name: "m" max_batch_size: ${size}'}, {})


def test_a_value_without_a_hole_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match="no template has a hole size"):
        render_configs({"m": 'name: "m"'}, {"size": "1"})


def test_a_config_that_triton_cannot_read_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match=r"Triton cannot read m/config\.pbtxt"):
        render_configs({"m": 'name: "m" max_batch_size: ${size}'}, {"size": "many"})


def test_a_model_must_have_its_directorys_name() -> None:
    with pytest.raises(TemplateMismatch, match="names its model 'other'"):
        render_configs({"m": 'name: "other"'}, {})


def test_a_kind_triton_does_not_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch, match="does not serve engines of kind vllm"):
        render_repository(tmp_path, replace(GGUF, kind="vllm"), tmp_path / "out")
