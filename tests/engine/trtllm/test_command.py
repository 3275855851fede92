"""The build command has current options, and the environment that TensorRT-LLM needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.tensorrt_llm.commands.arguments import parse_arguments

from enginix.engine.trtllm.command import BuildSpec, build_command, build_environment
from enginix.manifest import Limits, Quantization

SPEC = BuildSpec(
    rank_checkpoint=Path("/data/ranks"),
    output=Path("/data/engine"),
    limits=Limits(max_batch_size=32, max_seq_len=32768, max_num_tokens=8192),
    ranks=4,
    quantization=Quantization("NVFP4", "FP8", 16),
)


def options(spec: BuildSpec) -> dict[str, str]:
    argv = build_command(Path("python"), spec)
    start = argv.index("tensorrt_llm.commands.build") + 1
    return dict(zip(argv[start::2], argv[start + 1 :: 2], strict=True))


def test_the_limits_and_the_ranks_are_in_the_command() -> None:
    found = options(SPEC)
    assert found["--max_batch_size"] == "32"
    assert found["--max_seq_len"] == found["--max_input_len"] == "32768"
    assert found["--max_num_tokens"] == "8192"
    assert found["--workers"] == "4"


def test_every_option_is_known_to_trtllm_build() -> None:
    argv = build_command(Path("python"), SPEC)
    args = parse_arguments().parse_args(argv[3:])
    assert args.checkpoint_dir == "/data/ranks"
    assert args.kv_cache_type == "PAGED"


@pytest.mark.parametrize(
    "gone", ["--paged_kv_cache", "--gather_generation_logits", "--tp_size", "--max_output_len"]
)
def test_no_option_is_deprecated_or_removed(gone: str) -> None:
    assert gone not in options(SPEC)


def test_an_nvfp4_engine_multiplies_in_nvfp4_and_attends_in_fp8() -> None:
    found = options(SPEC)
    assert found["--gemm_plugin"] == "nvfp4"
    assert found["--use_fp8_context_fmha"] == "enable"


def test_without_an_fp8_cache_the_context_is_not_fp8() -> None:
    found = options(replace(SPEC, quantization=Quantization("NVFP4")))
    assert found["--use_fp8_context_fmha"] == "disable"


def test_a_plain_engine_takes_the_plugin_of_its_own_type() -> None:
    assert options(replace(SPEC, quantization=Quantization(None)))["--gemm_plugin"] == "auto"


def test_there_are_never_more_workers_than_ranks() -> None:
    assert options(replace(SPEC, workers=9))["--workers"] == "4"
    assert options(replace(SPEC, workers=1))["--workers"] == "1"


def test_a_launcher_comes_first() -> None:
    argv = build_command(Path("python"), replace(SPEC, launcher=("mpirun", "-n", "1")))
    assert argv[:4] == ["mpirun", "-n", "1", "python"]


def test_the_old_converter_cannot_be_selected_by_accident() -> None:
    found = build_environment({"TRTLLM_DISABLE_UNIFIED_CONVERTER": "1", "HOME": "/h"}, "m")
    assert "TRTLLM_DISABLE_UNIFIED_CONVERTER" not in found
    assert found["HOME"] == "/h"


def test_what_a_build_starts_carries_its_mark_and_writes_no_bytecode() -> None:
    found = build_environment({}, "/work:build")
    assert found["ENGINIX_BUILD"] == "/work:build"
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"
