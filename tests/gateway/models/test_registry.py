"""A name finds its model exactly, by an alias, or by a word in it; in that order."""

from __future__ import annotations

from pathlib import Path

import pytest
from triton.engines import tensorrt_llm_manifest

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import EngineDamaged, ModelNotFound, RequestError
from enginix.gateway.keys.key import Key, digest_of
from enginix.gateway.models.registry import Models, PassthroughModel, read_engine
from enginix.manifest import write_manifest


def model(
    name: str, aliases: tuple[str, ...] = (), contains: tuple[str, ...] = ()
) -> PassthroughModel:
    backend = OpenAIBackend("nobody", "http://127.0.0.1:1", name)
    return PassthroughModel(name, backend, "vllm", aliases, contains)


MODELS = Models(
    [
        model("qwen3-30b", ("coder",), ("qwen",)),
        model("nemotron", ("nano-qwen",), ("nemotron", "nvidia")),
    ]
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("qwen3-30b", "qwen3-30b"),
        ("coder", "qwen3-30b"),
        ("nano-qwen", "nemotron"),
        ("Qwen/Qwen3-32B", "qwen3-30b"),
        ("NVIDIA-Nemotron-9B", "nemotron"),
        ("nvidia/Qwen3-NVFP4", "qwen3-30b"),
    ],
)
def test_a_name_finds_its_model(asked: str, found: str) -> None:
    assert MODELS.resolve(asked).name == found


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match="has coder, nano-qwen, nemotron, qwen3-30b"):
        MODELS.resolve("gpt-4")


def test_an_engine_whose_template_is_a_link_out_of_it_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    write_manifest(engine, tensorrt_llm_manifest())
    (tmp_path / "secret").write_text("secret")
    (engine / "chat_template.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(EngineDamaged, match="leads out of the engine"):
        read_engine(engine)


BOTH = Models(
    [
        model("tiny", ("chat",)),
        PassthroughModel(
            "big", OpenAIBackend("nobody", "http://127.0.0.1:1", "b"), "trtllm", ("chat",)
        ),
    ]
)


@pytest.mark.parametrize(
    ("asked", "engine", "found"),
    [
        ("chat", None, "tiny"),
        ("chat", "vllm", "tiny"),
        ("chat", "trtllm", "big"),
        ("big", "trtllm", "big"),
    ],
)
def test_an_engine_chooses_among_those_that_serve_a_name(
    asked: str, engine: str | None, found: str
) -> None:
    assert BOTH.resolve(asked, engine).name == found


def test_an_engine_that_does_not_serve_the_model_is_answered_with_those_that_do() -> None:
    with pytest.raises(RequestError, match="not served by 'triton' here; it is by trtllm, vllm"):
        BOTH.resolve("chat", "triton")


def in_file(name: str, path: str) -> PassthroughModel:
    backend = OpenAIBackend("nobody", "http://127.0.0.1:1", name)
    return PassthroughModel(name, backend, "llamacpp", path=path)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("/models/tiny.gguf", "tiny"),
        ("tiny.gguf", "tiny"),
        ("/engines/demo/model.gguf", "demo"),
        ("/engines/demo/", "demo"),
        ("model.gguf", "demo"),
        ("/models/Qwen3-Coder", "coder"),
    ],
)
def test_a_path_or_a_file_finds_its_model(asked: str, found: str) -> None:
    paths = {
        "tiny": "/models/tiny.gguf",
        "demo": "/engines/demo/model.gguf",
        "coder": "/models/Qwen3-Coder",
    }
    models = Models([in_file(name, path) for name, path in paths.items()])
    assert models.resolve(asked).name == found


def test_a_file_that_several_models_have_is_answered_with_their_names() -> None:
    models = Models([in_file(name, f"/engines/{name}/model.gguf") for name in ("one", "two")])
    with pytest.raises(RequestError, match="is the file of one and two; send one"):
        models.resolve("model.gguf")
    assert models.resolve("/engines/two/model.gguf").name == "two"


@pytest.mark.parametrize("asked", ["demo", None])
def test_a_gateway_without_a_model_says_how_to_load_one(asked: str | None) -> None:
    with pytest.raises(RequestError, match="no model is loaded; load one with `enginix load NAME`"):
        Models([]).resolve(asked)


@pytest.mark.parametrize("asked", ["demo", None])
def test_a_key_without_a_model_is_not_told_to_load_one(asked: str | None) -> None:
    key = Key("bob", digest_of("sk-bob"), ("qwen*", "phi"))
    models = Models([in_file("demo", "/engines/demo")]).of_key(key)
    with pytest.raises(RequestError, match=r"may use qwen\*, phi, of which nothing is loaded"):
        models.resolve(asked)
