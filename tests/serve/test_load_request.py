"""What a client wants loaded becomes an entry of the profile, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.errors import ModelNotFound, RequestError
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    write_manifest,
)
from enginix.serve.load_request import entry_of
from enginix.serve.model_entry import ModelEntry
from enginix.supervision import LoadRequest

QWEN = ModelEntry("qwen", engine="vllm", aliases=["chat"], memory=0.4, http_port=8100)
TINY = ModelEntry("tiny", engine="triton", aliases=["chat"])
THERE = {"qwen": QWEN, "tiny": TINY}


def engine(root: Path, kind: str = "gguf", name: str = "built") -> Path:
    directory = root / "engine"
    directory.mkdir()
    (directory / "model.gguf").touch()
    manifest = Manifest(
        name=name,
        kind=kind,
        architecture="Qwen3ForCausalLM",
        source=Source(None, None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(),
        limits=Limits(max_batch_size=16, max_seq_len=512, max_num_tokens=512),
        built_with=BuiltWith("0.1.0"),
        files={"model.gguf": 0},
    )
    write_manifest(directory, manifest)
    return directory


def checkpoint(root: Path) -> Path:
    directory = root / "Some-Model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


def requested_load(root: Path, **wanted: object) -> ModelEntry:
    return entry_of(LoadRequest(**wanted), THERE, [root])  # type: ignore[arg-type]


def test_a_model_that_is_there_is_its_entry(tmp_path: Path) -> None:
    assert requested_load(tmp_path, model="qwen") == QWEN


@pytest.mark.parametrize(("engine_name", "entry"), [("vllm", QWEN), ("triton", TINY)])
def test_an_engine_chooses_among_those_of_one_alias(
    tmp_path: Path, engine_name: str, entry: ModelEntry
) -> None:
    assert requested_load(tmp_path, model="chat", engine=engine_name) == entry


def test_its_limits_can_be_others_this_time(tmp_path: Path) -> None:
    entry = requested_load(
        tmp_path, model="qwen", dtype="float16", gpu_memory_utilization=0.7, max_model_len=2048
    )
    assert (entry.dtype, entry.memory, entry.max_model_len) == ("float16", 0.7, 2048)
    assert (entry.name, entry.http_port) == ("qwen", 8100)


def test_an_engine_directory_says_itself_who_serves_it(tmp_path: Path) -> None:
    directory = engine(tmp_path)
    entry = requested_load(tmp_path, model_path=str(directory))
    assert (entry.name, entry.engine, entry.path) == ("built", "triton", str(directory))
    assert (entry.http_port, entry.memory, entry.max_model_len) == (0, 0.0, 0)


def test_a_checkpoint_is_served_by_the_engine_that_is_named(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    entry = requested_load(tmp_path, model_path=str(directory), engine="vllm")
    assert (entry.name, entry.engine, entry.path) == ("Some-Model", "vllm", str(directory))
    assert (entry.memory, entry.max_model_len) == (0.9, 8192)


def test_an_engine_may_be_named_as_in_models_json(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path)
    entry = requested_load(tmp_path, model_path=str(directory), engine="cuda-vllm")
    assert entry.engine == "vllm"


def test_a_model_of_the_catalogue_is_a_new_entry(tmp_path: Path) -> None:
    entry = requested_load(tmp_path, model="demo")
    assert (entry.name, entry.engine, entry.path) == ("demo", "triton", "")


def test_the_same_directory_again_is_the_same_model(tmp_path: Path) -> None:
    directory = str(engine(tmp_path))
    first = requested_load(tmp_path, model_path=directory)
    again = entry_of(LoadRequest(model_path=directory), {"built": first}, [tmp_path])
    assert again == first


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "neither it nor model_path"),
        (
            {"model": "qwen", "engine": "onnx"},
            "expected one of triton, trtllm, vllm, llamacpp, edge-llm",
        ),
        ({"model": "qwen", "engine": "trtllm"}, "qwen is served by vllm here, not by trtllm"),
        ({"model": "tiny", "max_model_len": 9}, "an engine's limits are built into it"),
        ({"model": "tiny", "dtype": "bfloat16"}, "an engine's types are built into it"),
        ({"model_path": "{checkpoint}"}, "engine: it is missing"),
        ({"model_path": "{checkpoint}", "engine": "triton"}, "no engine that Triton serves"),
        ({"model_path": "{checkpoint}", "engine": "llamacpp"}, "needs model.gguf"),
        ({"model_path": "{engine}", "model": "tiny"}, "tiny is another model here"),
        ({"model_path": "/etc"}, "not under this server's model roots"),
        ({"model_path": "{engine}", "model": "n" * 201}, "too long for a name: 201 bytes, at most"),
        ({"model_path": "{engine}", "model": "a\nb"}, "expected one line of text without a #"),
        ({"model_path": "{engine}", "model": "tiny#2"}, "expected one line of text without a #"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    tmp_path: Path, wanted: dict[str, str], message: str
) -> None:
    places = {"checkpoint": checkpoint(tmp_path), "engine": engine(tmp_path)}
    wanted = {
        key: str(value).format(**places) if key == "model_path" else value
        for key, value in wanted.items()
    }
    with pytest.raises(RequestError, match=message):
        requested_load(tmp_path, **wanted)


def test_a_name_nobody_has_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="this server has qwen, tiny"):
        requested_load(tmp_path, model="gpt-5")


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    directory = engine(tmp_path)
    (directory / "manifest.json").write_text("{")
    with pytest.raises(RequestError, match="model_path: "):
        requested_load(tmp_path, model_path=str(directory))


def test_a_gguf_file_is_served_by_llama_server_under_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "tiny-q4.gguf"
    file.touch()
    entry = requested_load(tmp_path, model_path=str(file))
    assert (entry.name, entry.engine, entry.path) == ("tiny-q4", "llamacpp", str(file))
    with pytest.raises(RequestError, match="is no engine that Triton serves"):
        requested_load(tmp_path, model_path=str(file), engine="triton")


def test_a_path_that_was_sent_through_a_link_is_another_name_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    link = tmp_path / "link.gguf"
    link.symlink_to("small.gguf")
    entry = requested_load(tmp_path, model_path=str(link))
    assert (entry.path, entry.aliases) == (str(tmp_path / "small.gguf"), [str(link)])


def test_an_engine_or_a_file_in_the_roots_is_found_by_its_name(tmp_path: Path) -> None:
    engine(tmp_path)
    (tmp_path / "small.gguf").touch()
    built = requested_load(tmp_path, model="engine")
    assert (built.name, built.engine, built.path) == ("engine", "triton", str(tmp_path / "engine"))
    file = requested_load(tmp_path, model="small.gguf")
    assert (file.name, file.engine, file.path) == ("small", "llamacpp", f"{tmp_path}/small.gguf")


@pytest.mark.parametrize("name", ["../engine", ".hidden", "engine/", "sub/engine", ""])
def test_only_a_plain_name_is_looked_for_in_the_roots(tmp_path: Path, name: str) -> None:
    engine(tmp_path).rename(tmp_path / ".hidden")
    with pytest.raises(RequestError):
        requested_load(tmp_path / "root", model=name)
