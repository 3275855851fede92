"""The rotary tables in TensorRT-LLM's rank files: expected, held to their shapes, and stripped for
the versions that cannot build from them."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.trtllm.conftest import Bench, surroundings
from engine.trtllm.slices import read
from fakes.random_checkpoint import Shape, write_checkpoint, write_safetensors

from enginix.checkpoint.tensors import read_header
from enginix.engine.trtllm.rank_tensors import ROPE_TABLES
from enginix.engine.trtllm.rope_stripping import (
    DECISIONS,
    strip_rank_file,
    takes_rope_tables,
)
from enginix.engine.trtllm.watchdog import Outcome
from enginix.errors import CheckpointDamaged, ConversionWrong, NumpyMismatch

Convert = Callable[[Path, int], Path]
RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "recordings" / "tensorrt_llm" / "names.json").read_text()
)
SIZE, CONTEXT, BASE = 64, 1024, 1000000.0
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def plain(index: int) -> float:
    return float(BASE ** (-2 * index / SIZE))


def linear(index: int) -> float:
    return plain(index) / 4


def llama3(index: int) -> float:
    """As Llama 3.1's authors give it: by the length of the wave."""
    wave, original = 2 * math.pi / plain(index), 64
    if wave < original / 4:
        return plain(index)
    if wave > original / 1:
        return plain(index) / 8
    smooth = (original / wave - 1) / (4 - 1)
    return (1 - smooth) * plain(index) / 8 + smooth * plain(index)


def yarn(index: int) -> float:
    """As in the paper: dimensions of many turns are kept, those of less than one are stretched."""

    def dimension(turns: float) -> float:
        return SIZE * math.log(64 / (turns * 2 * math.pi)) / (2 * math.log(BASE))

    first, last = max(math.floor(dimension(32)), 0), math.ceil(dimension(1))
    stretched = min(max((index - first) / (last - first), 0), 1)
    return plain(index) / 4 * stretched + plain(index) * (1 - stretched)


@pytest.mark.parametrize(
    ("scaling", "frequency", "factor"),
    [
        (None, plain, 1),
        ({"type": "linear", "factor": 4.0}, linear, 1),
        (LLAMA3, llama3, 1),
        (YARN, yarn, 0.1 * math.log(4) + 1),
    ],
    ids=["plain", "linear", "llama3", "yarn"],
)
def test_the_stand_in_writes_the_values_of_the_formulas(
    tmp_path: Path,
    convert: Convert,
    scaling: dict[str, Any] | None,
    frequency: Callable[[int], float],
    factor: float,
) -> None:
    made = write_checkpoint(tmp_path / "c", Shape(family="llama", layers=1))
    config = json.loads((made / "config.json").read_text())
    config |= {"max_position_embeddings": CONTEXT, "rope_scaling": scaling}
    (made / "config.json").write_text(json.dumps(config))
    found = read(convert(made, 1) / "rank0.safetensors")
    tables = {name: found[name][1].view(np.float32)[..., 0] for name in ROPE_TABLES}

    frequencies = [frequency(index) for index in range(SIZE // 2)]
    np.testing.assert_allclose(tables["rotary_inv_freq"], frequencies, rtol=1e-5)
    angles = np.outer(range(CONTEXT), frequencies)
    pairs = tables["embed_positions_for_gpt_attention"].reshape(CONTEXT, SIZE // 2, 2)
    np.testing.assert_allclose(pairs[..., 0], np.cos(angles) * factor, atol=2e-4)
    np.testing.assert_allclose(pairs[..., 1], np.sin(angles) * factor, atol=2e-4)
    # Of base 10000 whatever the model's is, and sines before cosines.
    angles = np.outer(range(CONTEXT), [10000 ** (-2 * index / SIZE) for index in range(SIZE // 2)])
    halves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(tables["embed_positions"][0], halves, atol=2e-4)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_stand_in_writes_every_name_the_original_does(
    tmp_path: Path, convert: Convert, family: str
) -> None:
    made = convert(write_checkpoint(tmp_path / "c", Shape(family=family, layers=1)), 2)
    config = json.loads((made / "config.json").read_text())
    assert read_header(made / "rank1.safetensors").keys() == set(RECORDED["rank_file"][family])
    assert config.keys() == set(RECORDED["config_json"][family])
    for part in ("mapping", "moe", "quantization"):
        assert config[part].keys() == set(RECORDED[part])


def test_a_model_that_states_no_context_has_the_one_transformers_gives_it(
    tmp_path: Path, convert: Convert
) -> None:
    made = write_checkpoint(tmp_path / "c", Shape(family="llama", layers=1))
    config = json.loads((made / "config.json").read_text())
    del config["max_position_embeddings"]
    (made / "config.json").write_text(json.dumps(config))
    # The shapes are compared on the way.
    header = read_header(convert(made, 1) / "rank0.safetensors")
    assert header["embed_positions"].shape == (1, 2048, SIZE)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (
            "forget-tables",
            r"lacks embed_positions, rotary_inv_freq, embed_positions_for_gpt_attention, which "
            r"save_checkpoint writes .*\(0\.16, 1\.x\.0rc1\)",
        ),
        (
            "short-table",
            r"embed_positions is F32 \[1, 4095, 64\], the checkpoint promises F32 \[1, 4096, 64\]",
        ),
        ("extra-tensor", r"holds, unasked, 1 tensors, the first is embed_positions_local"),
    ],
)
def test_a_rank_file_with_other_tables_than_the_models_is_refused(
    bench: Bench, mode: str, words: str
) -> None:
    with pytest.raises(ConversionWrong, match=words):
        bench.build(ranks=1, environment=surroundings(mode=mode))
    assert not bench.out.exists()


def test_a_builder_that_takes_the_tables_gets_them_and_its_warning_is_not_passed_on(
    bench: Bench,
) -> None:
    bench.build(ranks=1)
    assert "required tensors" in (bench.work / "logs" / "build.log").read_text()
    assert not bench.warnings
    assert bench.summary("build").startswith("1 engine, ")
    assert "rotary" not in bench.summary("build")


def test_a_builder_that_cannot_take_the_tables_ends_on_them(
    run_build: Callable[..., Outcome],
) -> None:
    with pytest.raises(NumpyMismatch, match=r"set_weights_name.*install numpy<2"):
        run_build(ranks=1, version="0.16.0")


@pytest.mark.parametrize("version", ["0.16.0", "1.2.0rc1"])
def test_the_build_strips_them_for_it(bench: Bench, version: str) -> None:
    manifest = bench.build(ranks=2, environment=surroundings(version=version))
    assert manifest.built_with.tensorrt_llm == version
    assert bench.summary("build").endswith(
        f"built without the rotary tables: TensorRT-LLM {version}"
    )
    assert not bench.warnings
    # The rank checkpoint stays as TensorRT-LLM wrote it, and the copy goes.
    whole = read_header(bench.work / "rank-checkpoint" / "rank1.safetensors")
    assert set(ROPE_TABLES) < whole.keys()
    assert not (bench.work / "rank-checkpoint-stripped").exists()


RELEASED = {
    "0.16.0": False,
    "0.17.0": True,
    "0.17.0.dev2024121700": True,
    "0.17.0.post1": True,
    "0.18.2": True,
    "0.19.0": True,
    "0.20.0rc3": True,
    "0.21.0": True,
    "1.0.0rc0": True,
    "1.0.0rc1": False,
    "1.0.0rc2": True,
    "1.0.0": True,
    "1.1.0rc1": False,
    "1.1.0rc2.post1": True,
    "1.1.0": True,
    "1.2.0rc1": False,
    "1.2.0rc5": True,
    "1.2.0": True,
    "1.2.1": True,
    "1.3.0rc1": False,
    "1.3.0rc10": True,
    "1.3.0rc20": True,
}


@pytest.mark.parametrize("version", RELEASED)
def test_every_version_with_engines_has_a_decision(version: str) -> None:
    assert takes_rope_tables(version) == RELEASED[version]


def test_every_decision_has_its_source_and_is_met_by_a_version() -> None:
    assert all(decision.source for decision in DECISIONS)
    assert {True, False} == set(RELEASED.values())


def test_an_unknown_version_gets_what_it_wrote() -> None:
    assert takes_rope_tables("2.0.0")


def rank_file(path: Path, rows: int = 3) -> Path:
    """Two weights around the tables, the first of `rows` MiB."""
    tensors = {
        "first": ("U8", np.arange(rows << 20, dtype=np.uint8).reshape(rows, -1)),
        **{name: ("F32", np.ones((1, 5), np.float32)) for name in ROPE_TABLES},
        "last": ("BF16", np.arange(7, dtype=np.uint16)),
    }
    write_safetensors(path, tensors)
    return path


def test_stripping_takes_the_tables_and_no_byte_of_the_rest(tmp_path: Path) -> None:
    source = rank_file(tmp_path / "rank0.safetensors")
    before = source.read_bytes()
    strip_rank_file(source, tmp_path / "stripped")
    found, original = read(tmp_path / "stripped"), read(source)
    assert list(found) == ["first", "last"]
    assert all(np.array_equal(found[name][1], original[name][1]) for name in found)
    assert source.read_bytes() == before


def test_stripping_needs_little_memory(tmp_path: Path) -> None:
    source = rank_file(tmp_path / "rank0.safetensors", rows=100)
    tracemalloc.start()
    strip_rank_file(source, tmp_path / "stripped")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_a_disk_that_fills_up_leaves_nothing_half_stripped(tmp_path: Path) -> None:
    source = rank_file(tmp_path / "rank0.safetensors")
    (tmp_path / "out").mkdir()
    # /dev/full takes nothing: where the copy would be written, it is.
    (tmp_path / "out" / ".rank0.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        strip_rank_file(source, tmp_path / "out" / "rank0.safetensors")
    assert not list((tmp_path / "out").iterdir())


def test_a_truncated_rank_file_is_not_stripped(tmp_path: Path) -> None:
    source = rank_file(tmp_path / "rank0.safetensors")
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged, match="truncated"):
        strip_rank_file(source, tmp_path / "stripped")
    assert [path.name for path in tmp_path.iterdir()] == ["rank0.safetensors"]
