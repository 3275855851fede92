"""llama.cpp gets the cores it may use, and no second thread on any of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from threads import SMALL_BYTES, default_threads, threads_for

ALLOWED = sorted(os.sched_getaffinity(0))


def machine(directory: Path, cores: dict[int, int], quota: str | None = None) -> Path:
    """A /sys in which each processor of `cores` belongs to that core."""
    for cpu, core in cores.items():
        topology = directory / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{core}\n")
    if quota:
        (directory / "fs/cgroup").mkdir(parents=True)
        (directory / "fs/cgroup/cpu.max").write_text(quota)
    return directory


def test_processors_of_one_core_count_once(tmp_path: Path) -> None:
    assert default_threads(machine(tmp_path, dict.fromkeys(ALLOWED, 7))) == 1


def test_each_core_counts(tmp_path: Path) -> None:
    assert default_threads(machine(tmp_path, {cpu: cpu for cpu in ALLOWED})) == len(ALLOWED)


def test_without_topology_each_processor_is_a_core(tmp_path: Path) -> None:
    assert default_threads(tmp_path) == len(ALLOWED)


@pytest.mark.parametrize(("quota", "most"), [("100000 100000", 1), ("max 100000", len(ALLOWED))])
def test_a_containers_quota_is_the_most(tmp_path: Path, quota: str, most: int) -> None:
    cores = machine(tmp_path, {cpu: cpu for cpu in ALLOWED}, quota)
    assert default_threads(cores) == most


def test_a_small_model_has_one_thread_and_a_large_one_all(tmp_path: Path) -> None:
    small, large = tmp_path / "small.gguf", tmp_path / "large.gguf"
    small.touch()
    with large.open("wb") as file:
        file.truncate(SMALL_BYTES)
    assert (threads_for(small), threads_for(large)) == (1, default_threads())
    assert threads_for(tmp_path / "nothing.gguf") == default_threads()
