"""A file of models becomes a profile, or says where it is wrong and what is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginix.errors import ModelUnknown, UsageError
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    write_manifest,
)
from enginix.serve.models_file import catalogue_profile, read_models_file
from enginix.serve.servers.llamacpp import LLAMACPP
from enginix.serve.servers.trtllm import TRTLLM
from enginix.serve.servers.vllm import VLLM

LIMITS = {"max_batch_size": 4, "max_input_len": 3072, "max_output_len": 1024}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    checkpoint, gguf = tmp_path / "checkpoint", tmp_path / "gguf"
    for path, file in ((checkpoint, "config.json"), (gguf, "model.gguf")):
        path.mkdir()
        (path / file).touch()
    engine = tmp_path / "engine"
    engine.mkdir()
    manifest = Manifest(
        name="m",
        kind="tensorrt-llm",
        architecture="Qwen3ForCausalLM",
        source=Source(None, None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(tp=2, world_size=2),
        limits=Limits(max_batch_size=8, max_seq_len=4096, max_num_tokens=4096),
        built_with=BuiltWith("0.1.0"),
        files={},
    )
    write_manifest(engine, manifest)
    return tmp_path


def write(directory: Path, **models: dict[str, Any]) -> Path:
    path = directory / "models.json"
    path.write_text(json.dumps({"models": models}))
    return path


@pytest.mark.parametrize("engine", ["tensorrt-llm", "trtllm", "cuda-trt"])
def test_limits_become_trtllm_serves_options(directory: Path, engine: str) -> None:
    row = {"engine": engine, "model_path": "checkpoint", "tensor_parallel_size": 2, **LIMITS}
    profile = read_models_file(write(directory, m={**row, "dtype": "float16"}))
    (entry,) = profile.models
    command = TRTLLM.command(["trtllm-serve"], entry, entry.path, directory / "m.yaml")
    assert command.argv[1] == str(directory / "checkpoint")
    assert {"--max_batch_size=4", "--max_seq_len=4096", "--tp_size=2"} < set(command.argv)
    assert json.loads(command.files[directory / "m.yaml"]) == {"dtype": "float16"}


@pytest.mark.parametrize("engine", ["vllm", "cuda-vllm"])
def test_limits_become_vllms_options(directory: Path, engine: str) -> None:
    row = {"engine": engine, "model_path": "checkpoint", "tensor_parallel_size": 2, **LIMITS}
    (entry,) = read_models_file(write(directory, m={**row, "dtype": "bfloat16"})).models
    argv = VLLM.command(["vllm", "serve"], entry, entry.path, directory).argv
    assert {
        *("--served-model-name=m", "--max-num-seqs=4", "--max-model-len=4096"),
        *("--tensor-parallel-size=2", "--dtype=bfloat16"),
    } < set(argv)


@pytest.mark.parametrize("path", ["gguf", "gguf/model.gguf"])
def test_limits_become_llama_servers_options(directory: Path, path: str) -> None:
    row = {"engine": "llamacpp", "model_path": path, **LIMITS}
    (entry,) = read_models_file(write(directory, m=row)).models
    assert Path(entry.path) == directory / path
    argv = LLAMACPP.command(["llama-server"], entry, entry.path, directory).argv
    assert {"--parallel=4", "--context=4096"} < set(argv)


def test_a_model_may_embed_or_rerank(directory: Path) -> None:
    gguf = {"engine": "llamacpp", "model_path": "gguf", "task": "embed"}
    checkpoint = {"engine": "vllm", "model_path": "checkpoint", "task": "rerank"}
    file = write(directory, embedder=gguf, reranker=checkpoint)
    embedder, reranker = read_models_file(file).models
    assert "--task=embed" in LLAMACPP.command(["x"], embedder, embedder.path, directory).argv
    assert "--runner=pooling" in VLLM.command(["x"], reranker, reranker.path, directory).argv


def test_a_task_that_its_server_does_not_do_is_named(directory: Path) -> None:
    row = {"engine": "triton", "model_path": "engine", "task": "embed"}
    with pytest.raises(UsageError, match="m: task: Triton can generate, got 'embed'"):
        read_models_file(write(directory, m=row))


def test_an_engines_limits_may_be_repeated_but_not_raised(directory: Path) -> None:
    row = {"engine": "triton", "model_path": "engine", "tensor_parallel_size": 2, **LIMITS}
    (entry,) = read_models_file(write(directory, m=row)).models
    assert (entry.engine, entry.options, entry.max_model_len) == ("triton", {}, 0)
    row["max_batch_size"] = 9
    with pytest.raises(UsageError, match="was built for 8 requests of 4096 tokens at once, not"):
        read_models_file(write(directory, m=row))


def test_a_model_may_have_several_servers(directory: Path) -> None:
    row = {"engine": "triton", "model_path": "engine"}
    file = write(
        directory,
        here={**row, "replicas": 2},
        both={**row, "replicas": 1, "endpoints": ["x:1"]},
        elsewhere={**row, "endpoints": ["x:1", "y:1"]},
        one=row,
    )
    models = read_models_file(file).models
    assert [entry.replicas_here for entry in models] == [2, 1, 0, 1]
    assert [len(entry.endpoints) for entry in models] == [0, 1, 2, 0]


def test_several_models_are_one_profile_and_one_of_them_is_its_own(directory: Path) -> None:
    row = {"engine": "vllm", "model_path": str(directory / "checkpoint")}
    file = write(directory, first=row, second=row)
    both, one = read_models_file(file), read_models_file(file, "second")
    assert (both.name, [entry.name for entry in both.models]) == ("models", ["first", "second"])
    assert (one.name, [entry.name for entry in one.models]) == ("models-second", ["second"])
    with pytest.raises(UsageError, match="has no model 'third'; it has first, second"):
        read_models_file(file, "third")


ROW = '"engine": "vllm", "model_path": "checkpoint"'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"models": {\n"a": {} "b"}}', "line 2, column 9: Expecting ',' delimiter; expected JSON"),
        ("", "line 1, column 1: Expecting value; expected JSON"),
        ('{"models": {"a": {ROW}, "a": {ROW}}}', "'a' is there twice"),
        ('{"models": {"a": {ROW, "engine": "vllm"}}}', "'engine' is there twice"),
        ('{"models": {"a": {ROW, "dytpe": "auto"}}}', r"a: unknown keys \['dytpe'\]; expect"),
        (
            '{"models": {"a": {ROW, "max_batch_size": "8"}}}',
            "expected a whole number, got '8'",
        ),
        ('{"models": {"a": {ROW, "max_batch_size": true}}}', "expected a whole number, got"),
        ('{"models": {"a": {ROW, "max_batch_size": 0}}}', "expected at least 1, got 0"),
        (
            '{"models": {"a": {ROW, "max_batch_size": 9999999999}}}',
            "expected at most 2147483647, got 9999999999",
        ),
        ('{"models": {"a": {ROW, "max_input_len": 9}}}', "make the context together"),
        ('{"models": {"a": {ROW, "dtype": 16}}}', "dtype: expected a string, got 16"),
        ('{"models": {"a": {ROW, "replicas": 0}}}', "replicas: expected at least 1, got 0"),
        ('{"models": {"a": {ROW, "endpoints": "x:1"}}}', "endpoints: expected a list, got 'x:1'"),
        ('{"models": {"a": {ROW, "endpoints": ["x"]}}}', "a: endpoints: 'x' is no address of vLLM"),
        ('{"models": {"a": {"engine": "vllm"}}}', "a: model_path is missing"),
        ('{"models": {"a": {"model_path": "checkpoint"}}}', "a: engine is missing"),
        (
            '{"models": {"a": {"engine": "tgi", "model_path": "x"}}}',
            "one of triton, tensorrt-llm",
        ),
        ('{"models": {"a": {"engine": "vllm", "model_path": "x"}}}', "x is not there; expected a"),
        ('{"models": {"a": {"engine": "vllm", "model_path": "gguf"}}}', "has no config.json, whi"),
        ('{"models": {"a": {"engine": "triton", "model_path": "gguf"}}}', "has no manifest.json"),
        ('{"models": {"../a": {ROW}}}', "expected a name of letters, digits and"),
        ('{"models": {"": {ROW}}}', r"\(no name\): expected a name of letters"),
        ('{"models": {"a": 7}}', "a: expected an object, got 7"),
        ('{"models": []}', "expected .*, found models to be a list"),
        ('{"models": {}}', "models is empty"),
        ("[]", "expected .*, found a list"),
        ('{"models": {"a": {ROW}}, "port": 1}', r"unknown keys \['port'\] beside models"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_file_is_refused_with_what_was_found_and_expected(
    directory: Path, text: str, complaint: str
) -> None:
    path = directory / "models.json"
    path.write_text(text.replace("ROW", ROW))
    with pytest.raises(UsageError, match=complaint) as caught:
        read_models_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"dtype": "float16"}, "a GGUF's types are its own"),
        ({"tensor_parallel_size": 2}, "runs on one device"),
    ],
)
def test_what_llama_server_cannot_do_is_refused(
    directory: Path, extra: dict[str, object], complaint: str
) -> None:
    row = {"engine": "llamacpp", "model_path": "gguf", **extra}
    with pytest.raises(UsageError, match=complaint):
        read_models_file(write(directory, m=row))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nope\.json cannot be read: No such file"):
        read_models_file(tmp_path / "nope.json")
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="it is not UTF-8 text"):
        read_models_file(tmp_path / "x")


def test_a_model_of_the_catalogue_is_a_profile_with_the_engine_that_was_asked_for() -> None:
    (usual,) = catalogue_profile(["demo"]).models
    (asked,) = catalogue_profile(["demo"], "llamacpp").models
    assert (usual.name, usual.engine, usual.path) == ("demo", "triton", "")
    assert (asked.name, asked.engine) == ("demo", "llamacpp")
    with pytest.raises(UsageError, match="--engine: expected one of triton, tensorrt-llm"):
        catalogue_profile(["demo"], "tgi")
    with pytest.raises(ModelUnknown, match="no model named 'demmo' in the catalogue; did you mean"):
        catalogue_profile(["demmo"], "vllm")
