"""A wrong engine is refused, including one built by hand."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine.trtllm.conftest import Bench

from enginix.engine.trtllm.engine_config import read_engine
from enginix.engine.trtllm.rank_tensors import engine_bytes
from enginix.engine.trtllm.verify import (
    CODE_BYTES,
    verify_engine,
    verify_manifest,
)
from enginix.errors import EngineDamaged, EngineMismatch, QuantizationLost
from enginix.manifest import Manifest, Quantization, read_manifest


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, python: Path, checkpoint: Path) -> Path:
    bench = Bench(tmp_path_factory.mktemp("built"), python, checkpoint)
    bench.build(ranks=2)
    return bench.out


@pytest.fixture
def engine(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "engine")


def change_config(engine: Path, *path: str, value: object) -> None:
    config = json.loads((engine / "config.json").read_text())
    inner: dict[str, Any] = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (engine / "config.json").write_text(json.dumps(config))


def verify_engine_alone(engine: Path) -> None:
    """Check it against its own config.json."""
    config = read_engine(engine)
    verify_engine(engine, config, config.quantization)


def test_a_complete_engine_is_described(engine: Path) -> None:
    assert verify_manifest(engine, read_manifest(engine)) == (
        "Qwen3ForCausalLM, NVFP4, FP8 KV cache, 2 ranks, TensorRT-LLM 1.2.1"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quant_algo", None),
        ("quant_algo", "FP8"),
        ("kv_cache_quant_algo", None),
        ("group_size", 128),
    ],
)
def test_a_quantization_that_is_not_the_checkpoints_is_refused(
    engine: Path, key: str, value: object
) -> None:
    change_config(engine, "pretrained_config", "quantization", key, value=value)
    with pytest.raises(QuantizationLost, match=rf"{key} is {value!r}, the checkpoint's is"):
        verify_manifest(engine, read_manifest(engine))


def test_an_engine_as_large_as_an_unquantized_one_is_refused(engine: Path) -> None:
    # Its config.json states NVFP4 but its weights are not: only the file size shows it.
    os.truncate(engine / "rank1.engine", 4_000_000 + CODE_BYTES)
    with pytest.raises(QuantizationLost, match=r"rank1\.engine has 0\.1 GB.*are not quantized"):
        verify_engine_alone(engine)


def test_sizes_of_a_real_model_are_judged_by_its_numbers(engine: Path, tmp_path: Path) -> None:
    # Qwen3-32B on two ranks: three times the size is the known symptom of lost quantization.
    numbers = {
        "num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 64,
        "num_key_value_heads": 8, "head_size": 128, "intermediate_size": 25600,
        "vocab_size": 151936,
    }  # fmt: skip
    for key, value in numbers.items():
        change_config(engine, "pretrained_config", key, value=value)
    config = read_engine(engine)
    assert engine_bytes(config.tensors()) == pytest.approx(11.1e9, rel=0.01)
    for name in config.rank_files:
        os.truncate(engine / name, 11_200_000_000)
    verify_engine(engine, config, Quantization("NVFP4", "FP8", 16))
    os.truncate(engine / "rank0.engine", 33_000_000_000)
    with pytest.raises(QuantizationLost, match=r"33\.0 GB.*has about 11\.\d GB"):
        verify_engine(engine, config, Quantization("NVFP4", "FP8", 16))


def test_a_long_context_may_make_the_rotary_tables_larger_than_the_weights(engine: Path) -> None:
    os.truncate(engine / "rank1.engine", CODE_BYTES + 30_000_000)
    with pytest.raises(QuantizationLost):
        verify_engine_alone(engine)
    change_config(engine, "pretrained_config", "max_position_embeddings", value=131072)
    verify_engine_alone(engine)


def test_a_missing_rank_is_named(engine: Path) -> None:
    (engine / "rank1.engine").unlink()
    with pytest.raises(EngineDamaged, match=r"holds rank0\.engine, expected rank0\.engine, rank1"):
        verify_engine_alone(engine)


def test_an_extra_rank_is_named(engine: Path) -> None:
    shutil.copy(engine / "rank1.engine", engine / "rank2.engine")
    with pytest.raises(EngineDamaged, match=r"config\.json says 2 ranks"):
        verify_engine_alone(engine)


def test_a_truncated_rank_is_refused(engine: Path) -> None:
    os.truncate(engine / "rank0.engine", 500_000)
    with pytest.raises(EngineDamaged, match=r"500,000 bytes, but its weights alone take 754,312"):
        verify_engine_alone(engine)


def test_a_head_tied_to_the_embedding_may_be_stored_once(engine: Path) -> None:
    change_config(engine, "pretrained_config", "tie_word_embeddings", value=True)
    config = read_engine(engine)
    tensors = config.tensors()
    without = engine_bytes(tensors) - tensors["lm_head.weight"].size_bytes
    for name in config.rank_files:
        os.truncate(engine / name, without)
    verify_engine_alone(engine)


def test_a_checkpoints_config_over_the_engines_is_recognized(
    engine: Path, checkpoint: Path
) -> None:
    shutil.copy(checkpoint / "config.json", engine / "config.json")
    with pytest.raises(EngineDamaged, match=r"a checkpoint's config\.json was copied over it"):
        verify_engine_alone(engine)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\xff"])
def test_an_empty_config_is_refused(engine: Path, text: str) -> None:
    (engine / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(EngineDamaged):
        read_engine(engine)


@pytest.mark.parametrize("key", ["mapping", "quantization", "dtype", "num_hidden_layers"])
def test_a_missing_key_of_the_config_is_named(engine: Path, key: str) -> None:
    config = json.loads((engine / "config.json").read_text())
    del config["pretrained_config"][key]
    (engine / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineDamaged, match=key):
        read_engine(engine)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pretrained_config", "architecture"), ["Qwen3ForCausalLM"]),
        (("pretrained_config", "quantization", "quant_algo"), 4),
        (("pretrained_config", "quantization", "exclude_modules"), "lm_head"),
        (("pretrained_config", "mapping", "world_size"), "2"),
        (("pretrained_config", "mapping", "world_size"), 3),
        (("pretrained_config", "mapping", "world_size"), 10**30),
        (("pretrained_config", "num_hidden_layers"), 10**9),
        (("pretrained_config", "vocab_size"), -1),
        (("build_config", "max_batch_size"), True),
    ],
)
def test_an_impossible_value_is_named_at_once(
    engine: Path, path: tuple[str, ...], value: object
) -> None:
    change_config(engine, *path, value=value)
    with pytest.raises(EngineDamaged, match=f"{path[-1]} is .*, expected"):
        read_engine(engine)


def changed(manifest: Manifest, **fields: object) -> Manifest:
    return replace(manifest, **fields)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("ranks", lambda one: changed(one, parallelism=replace(one.parallelism, tp=4))),
        ("limits", lambda one: changed(one, limits=replace(one.limits, max_batch_size=9))),
        ("architecture", lambda one: changed(one, architecture="LlamaForCausalLM")),
    ],
)
def test_a_manifest_of_another_engine_is_refused(
    engine: Path, what: str, change: Callable[[Manifest], Manifest]
) -> None:
    with pytest.raises(EngineMismatch, match=f"differ in {what}"):
        verify_manifest(engine, change(read_manifest(engine)))
