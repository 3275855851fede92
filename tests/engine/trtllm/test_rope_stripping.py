"""Rank files without the rotary tables, for the versions that cannot build from them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine.trtllm.conftest import PATIENCE, Bench, job_of, surroundings
from engine.trtllm.slices import read
from fakes.random_checkpoint import write_safetensors

from enginix.checkpoint.tensors import read_header
from enginix.engine.trtllm.build import BuildContext, convert_checkpoint
from enginix.engine.trtllm.plan import Options
from enginix.engine.trtllm.rank_tensors import ROPE_TABLES, RankTensor, check_rank_file
from enginix.engine.trtllm.rope_stripping import (
    DECISIONS,
    strip_rank_checkpoint,
    strip_rank_file,
    takes_rope_tables,
)
from enginix.engine.trtllm.watchdog import Outcome
from enginix.errors import CheckpointDamaged, ConversionWrong, DiskFull, NumpyMismatch


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


def test_a_rank_checkpoint_made_elsewhere_is_stripped_in_a_copy(
    bench: Bench, tmp_path: Path
) -> None:
    workshop = BuildContext(bench.python, surroundings(), tmp_path / "elsewhere", print)
    job, options = job_of(bench.checkpoint, 2), Options(patience=PATIENCE)
    convert_checkpoint(job, options, workshop, tmp_path / "ranks", print, replace_it=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ranks").iterdir()}
    environment = surroundings(version="0.16.0")
    bench.build(rank_checkpoint=tmp_path / "ranks", environment=environment)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ranks").iterdir()} == before


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


def test_a_file_without_tables_is_refused_with_the_versions_they_are_stripped_for(
    tmp_path: Path,
) -> None:
    strip_rank_file(rank_file(tmp_path / "rank0.safetensors"), tmp_path / "rank1.safetensors")
    promised = {name: RankTensor("F32", (1, 5)) for name in ROPE_TABLES}
    with pytest.raises(ConversionWrong) as refused:
        check_rank_file(tmp_path / "rank1.safetensors", promised)
    names = [decision.name for decision in DECISIONS if not decision.takes_tables]
    assert f"({', '.join(names)})" in str(refused.value)


def test_an_unknown_version_gets_its_own_files_unchanged() -> None:
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
    (tmp_path / "ranks").mkdir()
    (tmp_path / "out").mkdir()
    rank_file(tmp_path / "ranks" / "rank0.safetensors")
    # The copy is written to /dev/full, where every write fails.
    (tmp_path / "out" / ".rank0.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"no space left in .*choose another disk"):
        strip_rank_checkpoint(tmp_path / "ranks", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_truncated_rank_file_is_not_stripped(tmp_path: Path) -> None:
    source = rank_file(tmp_path / "rank0.safetensors")
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged, match="truncated"):
        strip_rank_file(source, tmp_path / "stripped")
    assert [path.name for path in tmp_path.iterdir()] == ["rank0.safetensors"]
