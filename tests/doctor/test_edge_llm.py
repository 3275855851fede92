"""Which machines TensorRT Edge-LLM has a part for, as the wheel's own table says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from enginix.doctor.edge_llm import PARTS, RELEASE, TENSORRT, look_at_edge_llm
from enginix.doctor.finding import Level
from enginix.triton.server.gpus import Gpu

PYTHON = os.environ.get("ENGINIX_EDGE_LLM_PYTHON", "")


def gpu(capability: str) -> Gpu:
    return Gpu(0, "GPU-0", "NVIDIA Made Up", capability, 1000, 1000, "580.1")


def looked(root: Path, system: str, capability: str, machine: str = "x86_64") -> tuple[Level, str]:
    (root / "etc").mkdir(exist_ok=True)
    name, _, version = system.partition(":")
    (root / "etc" / "os-release").write_text(f'NAME=x\nID={name}\nVERSION_ID="{version}"\n')
    (finding,) = look_at_edge_llm([gpu(capability)], machine, root)
    return finding.level, finding.found


@pytest.mark.parametrize(
    ("system", "capability", "tensorrt"),
    [
        ("ubuntu:24.04", "12.0", "10.16.0.72 or 11.0.0.114"),
        ("ubuntu:24.04", "8.0", "11.0.0.114"),
        ("ubuntu:22.04", "8.0", "10.16.0.72"),
    ],
)
def test_a_machine_that_has_a_part_is_told_its_tensorrt(
    tmp_path: Path, system: str, capability: str, tensorrt: str
) -> None:
    level, text = looked(tmp_path, system, capability)
    assert level is Level.GREEN
    assert text.endswith(f": TensorRT {tensorrt}")


@pytest.mark.parametrize(
    ("system", "capability"),
    [
        ("ubuntu:24.04", "8.9"),
        ("ubuntu:24.04", "9.0"),
        ("ubuntu:22.04", "12.0"),
        ("debian:12", "12.0"),
        ("nixos:26.05", "12.0"),
    ],
)
def test_a_machine_without_one_is_told_which_there_are(
    tmp_path: Path, system: str, capability: str
) -> None:
    level, text = looked(tmp_path, system, capability)
    assert level is Level.YELLOW
    assert f"has no part for sm{capability.replace('.', '')} on {system} (x86_64)" in text
    assert "ubuntu:24.04 (x86_64) with sm86, sm100, sm120" in text


def test_a_spark_is_known_by_its_model_and_not_by_its_ubuntu(tmp_path: Path) -> None:
    assert looked(tmp_path, "ubuntu:24.04", "12.1", "aarch64")[0] is Level.YELLOW
    model = tmp_path / "sys/class/dmi/id/product_name"
    model.parent.mkdir(parents=True)
    model.write_text("NVIDIA_DGX_Spark\n")
    level, text = looked(tmp_path, "ubuntu:24.04", "12.1", "aarch64")
    assert (level, text.rpartition(" ")[2]) == (Level.GREEN, "10.16.1.11")


def test_different_gpus_are_refused_and_no_gpu_is_no_news(tmp_path: Path) -> None:
    (finding,) = look_at_edge_llm([gpu("8.6"), gpu("12.0")], "x86_64", tmp_path)
    assert "sm86, sm120 are visible" in finding.found
    assert look_at_edge_llm([], "x86_64", tmp_path) == []


@pytest.mark.skipif(not PYTHON, reason="opt-in: make test-edge-llm")
def test_the_parts_are_those_of_the_wheel() -> None:
    (table,) = Path(PYTHON).parents[1].glob("lib/*/site-packages/tensorrt_edgellm/_native/*.json")
    read = json.loads(table.read_text())
    theirs = {
        (
            row["platform_probe_values"][0],
            row["gpu_sm"],
            TENSORRT[int(row["tensorrt_runtime_soname"][-2:])],
        )
        for row in read["variants"]
    }
    ours = {
        (part.system, sm, tensorrt)
        for part in PARTS
        if part.machine == "x86_64"
        for sm in part.sms
        for tensorrt in part.tensorrt
    }
    assert (read["package_version"], theirs) == (RELEASE, ours)
