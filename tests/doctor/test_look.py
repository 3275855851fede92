"""The doctor finds problems, says how to fix them, and never prints a secret."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from enginix.cli.main import main
from enginix.doctor.finding import Finding, Level
from enginix.doctor.gpu import look_at_gpus
from enginix.doctor.machine import look_at_disk, look_at_ports, look_at_shared_memory
from enginix.doctor.software import (
    look_at_engine,
    look_at_nix,
    look_at_tensorrt_llm,
    look_at_token,
)
from enginix.triton.server.compatibility import Machine
from enginix.triton.server.installation import runtime_version
from tests.triton.engines import write_engine

TWO_GPUS = """\
case "$*" in
*query-gpu*) echo "0, GPU-a, RTX PRO 6000, 12.0, 97887, 97000, 580.65"
             echo "1, GPU-b, RTX PRO 6000, 12.0, 97887, 1000, 580.65" ;;
topo*) printf '\\tGPU0\\tGPU1\\nGPU0\\t X \\tPHB\\nGPU1\\tPHB\\t X \\n' ;;
esac
"""


def program(directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH contains only a program of that name."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def levels(findings: list[Finding]) -> set[Level]:
    return {finding.level for finding in findings}


def test_a_missing_driver_is_not_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = look_at_gpus({})
    assert finding.level is Level.YELLOW
    assert "gguf run on the CPU" in finding.found


def test_a_driver_that_does_not_answer_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18\n"
    program(tmp_path, "nvidia-smi", script, monkeypatch)
    (finding,) = look_at_gpus({})
    assert finding.level is Level.RED
    assert "Driver/library version mismatch" in finding.found


def test_a_gpu_in_use_is_yellow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", TWO_GPUS, monkeypatch)
    free, used = (finding for finding in look_at_gpus({}) if finding.subject == "gpu")
    assert (free.level, used.level) == (Level.GREEN, Level.YELLOW)


def test_nccls_settings_are_shown_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "nvidia-smi", TWO_GPUS, monkeypatch)
    words = [finding.found for finding in look_at_gpus({}) if finding.subject == "nccl"]
    assert "NCCL_P2P_LEVEL=PHB (the GPUs share one PCIe host bridge)" in words


def test_hidden_gpus_are_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", TWO_GPUS, monkeypatch)
    found = [finding.found for finding in look_at_gpus({"CUDA_VISIBLE_DEVICES": "1"})]
    assert "CUDA_VISIBLE_DEVICES hides 1 of 2" in found


def test_a_taken_port_is_yellow() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (finding,) = look_at_ports([server.getsockname()[1]])
    assert finding.level is Level.YELLOW


def test_a_place_that_does_not_exist_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    (finding,) = look_at_disk(tmp_path / "not" / "yet")
    assert "GiB free in" in finding.found


def test_the_doctor_says_nothing_of_a_store_that_does_not_exist(tmp_path: Path) -> None:
    findings = look_at_disk(tmp_path, [tmp_path / "nix" / "store"])
    assert [finding.found.rpartition(" ")[2] for finding in findings] == [str(tmp_path)]


def test_missing_shared_memory_is_reported(tmp_path: Path) -> None:
    (finding,) = look_at_shared_memory(tmp_path / "shm")
    assert finding.level is Level.RED


@pytest.mark.parametrize(
    ("sandbox", "trusted", "level"),
    [
        ("false", '["root"]', Level.GREEN),
        ('"relaxed"', '["root"]', Level.GREEN),
        ("true", '["root", "me"]', Level.GREEN),
        ("true", '["root"]', Level.YELLOW),
    ],
)
def test_nix_must_let_an_engine_build_reach_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: str, trusted: str, level: Level
) -> None:
    settings = f'{{"sandbox": {{"value": {sandbox}}}, "trusted-users": {{"value": {trusted}}}}}'
    program(tmp_path, "nix", f"echo '{settings}'", monkeypatch)
    assert levels(look_at_nix("me")) == {level}


def test_an_old_nix_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(
        tmp_path,
        "nix",
        "echo \"error: 'config' is not a recognised command\"; exit 1\n",
        monkeypatch,
    )
    (finding,) = look_at_nix("me")
    assert "not a recognised command" in finding.found


def test_tensorrt_llm_is_found_by_its_backend(tmp_path: Path) -> None:
    (tmp_path / "opt/tritonserver/backends/tensorrtllm").mkdir(parents=True)
    assert levels(look_at_tensorrt_llm(tmp_path)) == {Level.GREEN}


def test_a_token_is_never_shown() -> None:
    assert "hf_secret" not in str(look_at_token("hf_secret"))


def test_a_directory_without_an_engine_is_red(tmp_path: Path) -> None:
    assert levels(look_at_engine(tmp_path, Machine([]))) == {Level.RED}


@pytest.mark.parametrize(("installed", "is_red"), [("1.1.0", True), ("1.2.1", False)])
def test_an_engine_of_another_tensorrt_llm_is_red(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    installed: str,
    is_red: bool,
) -> None:
    write_engine(tmp_path / "engine", ranks=1)
    root = tmp_path / "runtime"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").write_text(f"#!/bin/sh\necho {installed}\n")
    (root / "bin" / "python").chmod(0o755)
    program(tmp_path, "nvidia-smi", TWO_GPUS, monkeypatch)
    monkeypatch.setenv("ENGINIX_RUNTIME_TENSORRT_LLM", str(root))
    main(["doctor", "--json", str(tmp_path / "engine")])
    found = {(row["subject"], row["level"]): row for row in json.loads(capsys.readouterr().out)}
    assert found["tensorrt-llm", "green"]["found"] == f"version {installed} is installed"
    assert (("engine", "red") in found) == is_red
    if is_red:
        assert found["engine", "red"]["found"] == (
            "the engine was built with TensorRT-LLM 1.2.1, the runtime here is 1.1.0; build it "
            "with this runtime: nix build .#qwen3-32b-engine --option sandbox relaxed"
        )


def test_a_python_without_tensorrt_llm_is_not_an_error(tmp_path: Path) -> None:
    assert runtime_version(tmp_path, "", container=tmp_path) is None
