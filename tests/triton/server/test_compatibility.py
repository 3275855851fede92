"""An engine that does not fit is refused before CUDA starts, with the command that fixes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginix.errors import EngineDamaged, EngineMismatch
from enginix.manifest import BuiltWith, Limits, Manifest, Parallelism, Quantization, Source
from enginix.triton.server.compatibility import Machine, find_mismatches, require_fit
from enginix.triton.server.gpus import Gpu

ENGINE_CONFIG = {
    "version": "1.2.1",
    "pretrained_config": {"quantization": {"quant_algo": "NVFP4"}},
    "build_config": {},
}


def manifest(directory: Path) -> Manifest:
    return Manifest(
        name="qwen3-32b",
        kind="tensorrt-llm",
        architecture="Qwen3ForCausalLM",
        source=Source("nvidia/Qwen3-32B-NVFP4", None, {}),
        quantization=Quantization("NVFP4", "FP8", 16),
        parallelism=Parallelism(tp=2, pp=1, world_size=2),
        limits=Limits(8, 16384, 8192),
        built_with=BuiltWith("0.1.0", tensorrt_llm="1.2.1", compute_capability="12.0"),
        files={path.name: path.stat().st_size for path in directory.iterdir()},
    )


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(ENGINE_CONFIG))
    for rank in range(2):
        (tmp_path / f"rank{rank}.engine").write_bytes(b"plan" * 100)
    return tmp_path


def gpus(count: int, capability: str = "12.0") -> list[Gpu]:
    return [
        Gpu(index, f"GPU-{index}", "RTX PRO 6000", capability, 97887, 97000, "580.65")
        for index in range(count)
    ]


def misfit(engine: Path, machine: Machine) -> str:
    (found,) = find_mismatches(engine, manifest(engine), machine)
    return found


def write_config(engine: Path, config: dict[str, Any]) -> None:
    (engine / "config.json").write_text(json.dumps(config))


def test_a_fitting_engine_passes(engine: Path) -> None:
    require_fit(engine, manifest(engine), Machine(gpus(2), "1.2.1"))


def test_more_gpus_than_ranks_are_fine(engine: Path) -> None:
    require_fit(engine, manifest(engine), Machine(gpus(4), "1.2.1"))


def test_too_few_gpus_name_the_build_for_those_there_are(engine: Path) -> None:
    words = misfit(engine, Machine(gpus(1)))
    assert "2 ranks, one GPU each, and 1 GPUs are visible" in words
    assert "nix build .#qwen3-32b-engine --option sandbox relaxed" in words


def test_a_number_of_gpus_that_no_variant_has_gets_the_next_smaller_one(engine: Path) -> None:
    four = replace(manifest(engine), parallelism=Parallelism(tp=4, pp=1, world_size=4))
    (words,) = find_mismatches(engine, four, Machine(gpus(3)))
    assert "nix build .#qwen3-32b-engine-tp2 " in words


def test_a_model_outside_the_catalogue_is_built_from_its_checkpoint(engine: Path) -> None:
    mine = replace(manifest(engine), name="mine")
    (words,) = find_mismatches(engine, mine, Machine(gpus(1)))
    assert "enginix engine build --checkpoint CHECKPOINT --kind tensorrt-llm --tp 1" in words


def test_no_gpu_points_to_the_doctor(engine: Path) -> None:
    assert "enginix doctor" in misfit(engine, Machine([]))


def test_another_compute_capability_names_both(engine: Path) -> None:
    mixed = [*gpus(1), replace(gpus(1)[0], index=1, compute_capability="9.0")]
    words = misfit(engine, Machine(mixed))
    assert "GPU 1 (RTX PRO 6000) has compute capability 9.0, the engine was built for 12.0" in words
    assert "nix build .#qwen3-32b-engine-tp2" in words


def test_another_tensorrt_llm_names_both(engine: Path) -> None:
    words = misfit(engine, Machine(gpus(2), "1.1.0"))
    assert "built with TensorRT-LLM 1.2.1, the runtime here is 1.1.0" in words


def test_a_hugging_face_config_is_recognised(engine: Path) -> None:
    write_config(engine, {"architectures": ["Qwen3ForCausalLM"]})
    words = misfit(engine, Machine(gpus(2)))
    assert "a Hugging Face config.json" in words
    assert "'builder_config' not found" in words


@pytest.mark.parametrize("quantization", [None, {}, {"quant_algo": None}, {"quant_algo": "FP8"}])
def test_a_lost_quantization_is_refused(engine: Path, quantization: Any) -> None:
    write_config(engine, ENGINE_CONFIG | {"pretrained_config": {"quantization": quantization}})
    assert "would generate garbage" in misfit(engine, Machine(gpus(2)))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_broken_config_is_damage(engine: Path, content: bytes) -> None:
    (engine / "config.json").write_bytes(content)
    with pytest.raises(EngineDamaged, match="is not readable JSON"):
        find_mismatches(engine, manifest(engine), Machine(gpus(2)))


def test_a_truncated_rank_file_is_damage(engine: Path) -> None:
    promised = manifest(engine)
    (engine / "rank1.engine").write_bytes(b"pla")
    with pytest.raises(EngineDamaged, match=r"rank1\.engine has 3 bytes, the manifest promises"):
        require_fit(engine, promised, Machine(gpus(2)))


def test_all_misfits_are_said_at_once(engine: Path) -> None:
    with pytest.raises(EngineMismatch) as refusal:
        require_fit(engine, manifest(engine), Machine(gpus(1, "9.0"), "1.1.0"))
    assert len(str(refusal.value).splitlines()) == 4


def test_an_engine_without_gpu_fits_everywhere(engine: Path) -> None:
    assert find_mismatches(engine, replace(manifest(engine), kind="gguf"), Machine([])) == []


def test_an_edge_llm_engine_needs_the_gpu_it_was_built_for_and_is_built_without_nix(
    engine: Path,
) -> None:
    edge = replace(manifest(engine), kind="edge-llm", parallelism=Parallelism())
    assert find_mismatches(engine, edge, Machine(gpus(1))) == []
    (found,) = find_mismatches(engine, edge, Machine(gpus(1, "8.6")))
    assert "has compute capability 8.6, the engine was built for 12.0" in found
    assert found.endswith("enginix engine build --checkpoint CHECKPOINT --kind edge-llm --out DIR")
