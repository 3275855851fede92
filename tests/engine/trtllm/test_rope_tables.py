"""The rotary tables and other tensors that TensorRT-LLM writes and requires in rank files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.trtllm.conftest import Bench, surroundings
from engine.trtllm.slices import Bytes, read
from fakes.random_checkpoint import Shape, write_checkpoint, write_safetensors

from enginix.checkpoint.tensors import read_header
from enginix.engine.trtllm.rank_tensors import ROPE_TABLES
from enginix.errors import BuildCrashed, ConversionWrong, ProcessError
from enginix.process import run

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
    """By wavelength, as Llama 3.1's authors define it."""
    wave, original = 2 * math.pi / plain(index), 64
    if wave < original / 4:
        return plain(index)
    if wave > original / 1:
        return plain(index) / 8
    smooth = (original / wave - 1) / (4 - 1)
    return (1 - smooth) * plain(index) / 8 + smooth * plain(index)


def yarn(index: int) -> float:
    """As in the YaRN paper: dimensions of many turns are kept, those below one are stretched."""

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


def test_an_unknown_scaling_ends_with_the_originals_own_message(
    bench: Bench, tmp_path: Path
) -> None:
    made = write_checkpoint(tmp_path / "c", Shape(layers=1))
    config = json.loads((made / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "default"}
    (made / "config.json").write_text(json.dumps(config))
    with pytest.raises(BuildCrashed, match="ValueError: Unsupported rotary scaling type: default"):
        bench.build(ranks=1, checkpoint=made)


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
    # The conversion compares the shapes.
    header = read_header(convert(made, 1) / "rank0.safetensors")
    assert header["embed_positions"].shape == (1, 2048, SIZE)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (
            "forget-tables",
            r"lacks embed_positions, rotary_inv_freq, embed_positions_for_gpt_attention, which "
            r"every TensorRT-LLM that builds engines writes.*\(0\.16, 1\.x\.0rc1\)",
        ),
        (
            "short-table",
            r"embed_positions is F32 \[1, 4095, 64\], expected F32 \[1, 4096, 64\]",
        ),
        ("extra-tensor", r"has 1 unexpected tensors, the first is embed_positions_local"),
    ],
)
def test_a_rank_file_with_other_tables_than_the_models_is_refused(
    bench: Bench, mode: str, message: str
) -> None:
    with pytest.raises(ConversionWrong, match=message):
        bench.build(ranks=1, environment=surroundings(mode=mode))
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("transformer.ln_f.weight", r"Required but not provided tensors:\{'transformer\.ln_f"),
        # The original uses the embedding's.
        ("lm_head.weight", None),
    ],
)
def test_the_stand_in_requires_of_a_rank_file_what_the_original_does(
    tmp_path: Path, convert: Convert, checkpoint: Path, python: Path, without: str, message: str
) -> None:
    made = shutil.copytree(convert(checkpoint, 1), tmp_path / "ranks")
    tensors = read(made / "rank0.safetensors")
    del tensors[without]
    write_safetensors(made / "rank0.safetensors", {name: whole(*tensors[name]) for name in tensors})
    argv = [str(python), "-m", "tensorrt_llm.commands.build", "--checkpoint_dir", str(made)]
    argv += ["--output_dir", str(tmp_path), "--output_timing_cache", str(tmp_path / "cache")]
    with pytest.raises(ProcessError, match=message) if message else nullcontext():
        run(argv)
    assert (tmp_path / "rank0.engine").exists() == (message is None)


def whole(dtype: str, data: Bytes) -> tuple[str, Bytes]:
    """Bytes with their elements' axis, as one array of elements."""
    return dtype, np.ascontiguousarray(data).view(f"V{data.shape[-1]}")[..., 0]
