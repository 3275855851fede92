"""A rank checkpoint holds the checkpoint's values; errors are found before a build."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine.trtllm.conftest import Bench, surroundings
from engine.trtllm.slices import expected_rank, read
from fakes.random_checkpoint import Shape, write_checkpoint

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.trtllm.conversion import Conversion, at_once
from enginix.engine.trtllm.modules import read_decoder
from enginix.engine.trtllm.quant_config import quant_config, quantization_of
from enginix.engine.trtllm.rank_tensors import (
    ROPE_TABLES,
    RankTensor,
    check_rank_file,
    rank_tensors,
    rope_tables,
)
from enginix.errors import (
    BuildCrashed,
    CheckpointUnsupported,
    ConversionWrong,
    EnginePathGone,
    NoGpu,
    OutOfMemory,
    RuntimeMissing,
)
from enginix.process import run

Convert = Callable[[Path, int], Path]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_rank_holds_its_part_of_every_tensor(
    convert: Convert, checkpoint: Path, ranks: int
) -> None:
    source = {name: data for name, (_, data) in read(checkpoint / "model.safetensors").items()}
    for rank in range(ranks):
        found = read(convert(checkpoint, ranks) / f"rank{rank}.safetensors")
        expected = expected_rank(source, layers=2, rank=rank, ranks=ranks)
        assert found.keys() - ROPE_TABLES == expected.keys()
        wrong = [
            name for name, data in expected.items() if not np.array_equal(found[name][1], data)
        ]
        assert not wrong


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("algo", ["NVFP4", "FP8", None])
def test_the_rank_checkpoint_has_the_planned_tensors(
    tmp_path: Path, convert: Convert, family: str, algo: str | None
) -> None:
    made = write_checkpoint(tmp_path / "c", Shape(family=family, layers=1), algo=algo)
    # The conversion compares every tensor.
    assert (convert(made, 2) / "rank1.safetensors").exists()


def test_config_json_is_written_once_and_says_how_it_is_quantized(
    convert: Convert, checkpoint: Path
) -> None:
    config = json.loads((convert(checkpoint, 2) / "config.json").read_text())
    assert config["mapping"]["tp_size"] == 2
    assert config["quantization"]["quant_algo"] == "NVFP4"
    assert config["quantization"]["kv_cache_quant_algo"] == "FP8"
    assert "*router" in config["quantization"]["exclude_modules"]


def promised(checkpoint: Path, ranks: int) -> dict[str, RankTensor]:
    found = open_checkpoint(checkpoint)
    decoder = read_decoder(found)
    assert decoder is not None
    stated = quantization_of(quant_config(found, decoder))
    return rank_tensors(decoder, stated, "bfloat16", ranks) | rope_tables(decoder.sizes)


def test_weights_padded_for_want_of_a_quant_config_are_refused(
    bench: Bench, checkpoint: Path, tmp_path: Path
) -> None:
    # A converter that does not know of the quantization succeeds.
    plain = shutil.copytree(checkpoint, tmp_path / "plain")
    (plain / "hf_quant_config.json").unlink()
    program = (
        "from tensorrt_llm import Mapping; from tensorrt_llm.models import MODEL_MAP\n"
        "import sys\n"
        "MODEL_MAP['Qwen3ForCausalLM'].from_hugging_face(sys.argv[1]).save_checkpoint(sys.argv[2])"
    )
    output = run([str(bench.python), "-c", program, str(plain), str(tmp_path)])
    assert "is going to be padded by" in output
    expected = (
        r"rank0\.safetensors has 54 missing tensors, the first is transformer\.layers\.0\.attent"
    )
    with pytest.raises(ConversionWrong, match=expected):
        check_rank_file(tmp_path / "rank0.safetensors", promised(checkpoint, 1))


def test_a_tensor_of_another_shape_is_named_with_both_shapes(
    checkpoint: Path, convert: Convert
) -> None:
    two_ranks = convert(checkpoint, 2) / "rank0.safetensors"
    with pytest.raises(
        ConversionWrong,
        match=r"is U8 \[512, 128\], expected U8 \[256, 128\]; TensorRT-LLM padded",
    ):
        check_rank_file(two_ranks, promised(checkpoint, 4))


def test_a_truncated_rank_file_is_refused(
    checkpoint: Path, convert: Convert, tmp_path: Path
) -> None:
    whole = (convert(checkpoint, 1) / "rank0.safetensors").read_bytes()
    (tmp_path / "rank0.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ConversionWrong, match=r"no complete rank file.*is truncated"):
        check_rank_file(tmp_path / "rank0.safetensors", promised(checkpoint, 1))


@pytest.mark.parametrize(
    ("standin", "error", "message"),
    [
        (
            {"mode": "forget-tensor"},
            ConversionWrong,
            "has 1 missing tensors, the first is lm_head.weight",
        ),
        ({"mode": "lose-quantization"}, ConversionWrong, "quant_algo = None, expected 'NVFP4'"),
        ({"mode": "kill-conversion"}, OutOfMemory, r"killed \(SIGKILL\).*needs about 3\.\d GB"),
        ({"mode": "no-driver"}, NoGpu, r"libcuda\.so\.1"),
        ({"version": "1.3.0rc21"}, EnginePathGone, r"TensorRT-LLM 1\.3\.0rc21 can no longer"),
    ],
)
def test_a_conversion_that_fails_says_why_and_leaves_no_engine(
    bench: Bench, standin: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench.build(environment=surroundings(**standin))
    assert not bench.out.exists()


def test_a_python_without_tensorrt_llm_is_a_missing_runtime(bench: Bench) -> None:
    bench.python = Path(sys.executable)
    with pytest.raises(RuntimeMissing, match="ENGINIX_RUNTIME_TENSORRT_LLM"):
        bench.build()


def test_an_unknown_model_ends_with_the_converters_own_message(
    bench: Bench, plain_checkpoint: Path, tmp_path: Path
) -> None:
    strange = shutil.copytree(plain_checkpoint, tmp_path / "strange")
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps(config | {"model_type": "qwen9"}))
    with pytest.raises(BuildCrashed, match=r"model type `qwen9`.*its log is"):
        bench.build(checkpoint=strange)


def test_a_rope_base_that_transformers_overlooked_is_found(
    bench: Bench, checkpoint: Path, tmp_path: Path
) -> None:
    newer = shutil.copytree(checkpoint, tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text())
    config["rope_parameters"] = {"rope_theta": config.pop("rope_theta")}
    (newer / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionWrong, match=r"rotary_base = 10000.0.*which states 1000000.0"):
        bench.build(checkpoint=newer)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_a_rope_scaling_that_transformers_overlooked_is_found(bench: Bench, tmp_path: Path) -> None:
    newer = write_checkpoint(tmp_path / "newer", Shape(family="llama"))
    config = json.loads((newer / "config.json").read_text())
    # Its theta has both names, as after the advice for an overlooked one.
    theta = config.setdefault("rope_theta", 10000.0)
    config["rope_parameters"] = {"rope_theta": theta, **LLAMA3}
    (newer / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionWrong, match=r"rotary_scaling.* = \{\} from .*'llama3'"):
        bench.build(checkpoint=newer)
    (newer / "config.json").write_text(json.dumps(config | {"rope_scaling": LLAMA3}))
    bench.build(checkpoint=newer)


def test_a_head_size_of_null_is_that_of_the_hidden_size(bench: Bench, tmp_path: Path) -> None:
    mistral = write_checkpoint(tmp_path / "mistral", Shape(family="mistral", head_dim=32))
    config = json.loads((mistral / "config.json").read_text())
    (mistral / "config.json").write_text(json.dumps(config | {"head_dim": None}))
    assert bench.build(ranks=1, checkpoint=mistral).parallelism.tp == 1


def test_ranks_without_whole_tiles_of_scales_are_refused_before_the_conversion(
    bench: Bench,
) -> None:
    # 192 outputs are one tile and a half.
    with pytest.raises(CheckpointUnsupported, match="block scales need a multiple of 128"):
        bench.build(ranks=1, checkpoint=DIRECTORY / "checkpoints/demo")
    assert not bench.work.exists()


def test_more_ranks_than_key_value_heads_are_refused(bench: Bench) -> None:
    with pytest.raises(CheckpointUnsupported, match="more than the 4 key and value heads"):
        bench.build(ranks=8)


@pytest.mark.parametrize(
    ("available", "workers", "expected"), [(100, None, 4), (25, None, 2), (1, None, 1), (100, 3, 3)]
)
def test_as_many_ranks_are_converted_at_once_as_memory_allows(
    checkpoint: Path, available: int, workers: int | None, expected: int
) -> None:
    conversion = Conversion(open_checkpoint(checkpoint), 4, "auto", None, None, rank_memory=10)
    assert at_once(conversion, available, workers) == expected
