"""Ranks under the real Open MPI: started correctly, ended together, errors explained."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from enginix.process import descendants, find_program
from tests.end_to_end.ranks import Machine, Running
from tests.end_to_end.test_triton_killed import left_by, name_of, named, wait_until_gone

needs_mpirun = pytest.mark.skipif(
    find_program("mpirun") is None, reason="mpirun is not installed (Debian: openmpi-bin)"
)

SIZES = [1, pytest.param(2, marks=needs_mpirun), pytest.param(4, marks=needs_mpirun)]


def family_of(running: Running) -> list[int]:
    return descendants(running.process.pid)


def ended(running: Running) -> str:
    """Its whole output, after it has ended by itself."""
    running.process.wait(60)
    running.log.close()
    return running.log.text()


@pytest.mark.parametrize("ranks", SIZES)
def test_every_rank_is_started_correctly(tmp_path: Path, ranks: int) -> None:
    machine = Machine(tmp_path / "m", ranks)
    with machine.started("--log-verbose=2") as running:
        assert running.log.says("Triton serves qwen3-32b"), running.log.text()
        prefixes = set()
        for rank in range(ranks):
            options = machine.report(rank)["options"]
            assert options["log-verbose"] == ["2"]
            prefixes |= set(options["backend-config"])
    assert len(prefixes) == ranks


@pytest.mark.parametrize("ranks", SIZES)
def test_sigterm_leaves_no_process_and_no_shared_memory(tmp_path: Path, ranks: int) -> None:
    with Machine(tmp_path / "m", ranks).started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        family = family_of(running)
        files = name_of(running.process.pid)
        assert left_by(files)
        running.process.terminate()
        assert running.process.wait(30) == 0
    wait_until_gone(family)
    assert not left_by(files)


@pytest.mark.parametrize("ranks", SIZES)
def test_a_killed_command_ends_all_ranks(tmp_path: Path, ranks: int) -> None:
    machine = Machine(tmp_path / "m", ranks)
    with machine.started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        servers = [machine.report(rank)["pid"] for rank in range(ranks)]
        running.process.kill()
        wait_until_gone(servers, patience=2)


@needs_mpirun
def test_a_killed_mpirun_ends_all_ranks(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    with machine.started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        files = name_of(running.process.pid)
        servers = [machine.report(rank)["pid"] for rank in range(2)]
        (mpirun,) = named(family_of(running), "mpirun")
        os.kill(mpirun, signal.SIGKILL)
        assert "Triton was killed by SIGKILL" in ended(running)
        wait_until_gone(servers)
    assert not left_by(files)


@needs_mpirun
def test_nccl_settings_are_printed_and_reach_the_ranks(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2, environment={"NCCL_IB_DISABLE": "0"})
    with machine.started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        text = running.log.text()
        environment = machine.report(1)["environment"]
    assert "NCCL_P2P_LEVEL=PHB: the GPUs share one PCIe host bridge" in text
    assert "NCCL_IB_DISABLE kept as you set it: 0" in text
    assert environment["NCCL_P2P_LEVEL"] == "PHB"
    assert environment["NCCL_IB_DISABLE"] == "0"


def test_one_rank_needs_neither_mpirun_nor_nccl(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 1)
    with machine.started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        assert "NCCL" not in running.log.text()
        assert "OMPI_COMM_WORLD_RANK" not in machine.report(0)["environment"]


@pytest.mark.parametrize("ranks", SIZES)
def test_the_server_gets_no_secrets(tmp_path: Path, ranks: int) -> None:
    given = {"HF_TOKEN": "hf_x", "ENGINIX_API_KEYS": "key", "CUDA_CACHE_PATH": "/x"}
    machine = Machine(tmp_path / "m", ranks, environment=given)
    with machine.started() as running:
        assert running.log.says("Triton serves"), running.log.text()
        seen = machine.report(ranks - 1)["environment"]
    assert given.keys() & seen.keys() == {"CUDA_CACHE_PATH"}


@needs_mpirun
@pytest.mark.parametrize("victim", [0, 3])
def test_a_killed_rank_ends_all_and_is_named(tmp_path: Path, victim: int) -> None:
    machine = Machine(tmp_path / "m", 4)
    with machine.started("--exit-timeout=2") as running:
        assert running.log.says("Triton serves"), running.log.text()
        assert running.log.says(f"[rank {victim}] I rank {victim} starts"), running.log.text()
        family = family_of(running)
        files = name_of(running.process.pid)
        os.kill(machine.report(victim)["pid"], signal.SIGKILL)
        text = ended(running)
    assert running.process.returncode == 1
    assert f"Triton was killed by SIGKILL; rank {victim} ended first" in text
    assert f"its last lines:\n  I rank {victim} starts" in text
    wait_until_gone(family)
    assert not left_by(files)


@needs_mpirun
def test_a_rank_that_fails_to_start_is_named_with_its_message(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.behave(1, "fail")
    done = machine.run()
    assert done.returncode == 1
    assert "exited with status 3 before it was ready; rank 1 ended first" in done.stdout
    # Not necessarily the last line: mpirun forwards stdout and stderr separately.
    assert "  E no CUDA device is free" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_single_server_that_fails_to_start_is_explained(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 1)
    machine.behave(0, "fail")
    done = machine.run()
    assert done.returncode == 1
    assert "Triton exited with status 3 before it was ready" in done.stdout


@needs_mpirun
def test_a_rank_that_hangs_fails_at_the_deadline(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.behave(1, "hang")
    with machine.started("--start-timeout=8", "--exit-timeout=1") as running:
        assert running.log.says("waiting for a rank that never comes"), running.log.text()
        family = family_of(running)
        files = name_of(running.process.pid)
        text = ended(running)
    assert running.process.returncode == 1
    assert "was not ready within 8 s and was killed" in text
    assert "rank 1, its last lines:" in text
    wait_until_gone(family)
    assert not left_by(files)


@needs_mpirun
def test_a_slow_rank_is_waited_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.behave(1, "wait")
    with machine.started() as running:
        assert running.log.says("[rank 1] I loading slowly"), running.log.text()
        assert "Triton serves" not in running.log.text()
        machine.release("load")
        assert running.log.says("Triton serves qwen3-32b"), running.log.text()


@pytest.mark.parametrize("ranks", SIZES)
def test_sigterm_lets_running_requests_finish(tmp_path: Path, ranks: int) -> None:
    machine = Machine(tmp_path / "m", ranks)
    with machine.started("--exit-timeout=30") as running, ThreadPoolExecutor(1) as pool:
        assert running.log.says("Triton serves"), running.log.text()
        answer = pool.submit(httpx.get, f"{running.url}/slow", timeout=60)
        assert running.log.says("answering slowly")
        running.process.terminate()
        assert running.log.says("draining")
        machine.release("answer")
        assert answer.result().status_code == 200


@needs_mpirun
def test_a_rank_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.behave(1, "hang")
    with machine.started("--exit-timeout=1") as running:
        assert running.log.says("waiting for a rank that never comes"), running.log.text()
        family = family_of(running)
        files = name_of(running.process.pid)
        running.process.terminate()
        running.process.wait(30)
    wait_until_gone(family)
    assert not left_by(files)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 1}, "the engine has 2 ranks, one GPU each, and 1 GPUs are visible"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "3"}}, "and 1 GPUs are visible"),
        ({"capability": "9.0"}, "has compute capability 9.0, the engine was built for 12.0"),
        ({"tensorrt_llm": "1.1.0"}, "the runtime here is 1.1.0"),
    ],
)
def test_an_engine_that_does_not_fit_starts_nothing(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    machine = Machine(tmp_path / "m", 2, **changes)  # type: ignore[arg-type]
    done = machine.run()
    assert done.returncode == 1
    assert message in done.stdout
    assert "nix build .#qwen3-32b-engine" in done.stdout
    assert not machine.was_started()


def test_a_truncated_rank_file_starts_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    (machine.engine / "rank1.engine").write_bytes(b"pla")
    done = machine.run()
    assert done.returncode == 1
    assert "rank1.engine has 3 bytes, the manifest promises 400" in done.stdout
    assert not machine.was_started()


def test_without_mpirun_the_package_to_install_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.environment["PATH"] = str(machine.place / "smi")
    (machine.place / "smi" / "cat").symlink_to("/bin/cat")
    done = machine.run()
    assert done.returncode == 1
    assert "apt install openmpi-bin" in done.stdout


def test_a_missing_triton_says_where_to_get_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 1)
    machine.environment["ENGINIX_RUNTIME_TENSORRT_LLM"] = str(tmp_path)
    done = machine.run()
    assert done.returncode == 1
    assert "no Triton with TensorRT-LLM was found in /opt/tritonserver" in done.stdout
    assert "nix run .#tritonserver-NAME" in done.stdout
