"""A build resumes where it failed, and puts a complete engine in place or changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine.trtllm.conftest import LIMITS, Bench, job_of, surroundings
from fakes.made_checkpoint import DEMO
from fakes.random_checkpoint import Shape, write_checkpoint

from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.build import build_engine
from enginix.engine.stages import StageFinished
from enginix.engine.trtllm.build import BuildContext, tensorrt_llm_build
from enginix.engine.trtllm.command import MARK
from enginix.engine.trtllm.plan import Options
from enginix.engine.trtllm.stage_cache import discard, open_stage_cache
from enginix.errors import (
    BuildCrashed,
    BuildError,
    CheckpointUnsupported,
    NotACheckpoint,
    OutputExists,
    SourceChanged,
)
from enginix.manifest import Parallelism, check_files, read_manifest
from enginix.marked import marked
from enginix.process import started

STAGES = ["inspect", "convert", "hash", "build", "verify"]
KEPT = "kept from the build before"


def test_an_engine_has_its_ranks_its_tokenizer_and_a_manifest(bench: Bench) -> None:
    manifest = bench.build(ranks=2)
    assert set(manifest.files) == {
        "rank0.engine",
        "rank1.engine",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "xgrammar_tokenizer_info.json",
    }
    check_files(bench.out, read_manifest(bench.out))


def test_the_config_json_is_the_engines_and_never_the_checkpoints(bench: Bench) -> None:
    bench.build(ranks=1)
    config = json.loads((bench.out / "config.json").read_text())
    assert set(config) == {"version", "pretrained_config", "build_config"}


def test_the_manifest_records_the_options_and_the_versions(bench: Bench) -> None:
    manifest = bench.build(ranks=2)
    assert manifest.kind == "tensorrt-llm"
    assert manifest.parallelism == Parallelism(tp=2, pp=1, world_size=2)
    assert manifest.quantization.algo == "NVFP4"
    assert manifest.quantization.kv_cache_algo == "FP8"
    assert manifest.built_with.tensorrt_llm == "1.2.1"
    assert "model.safetensors" in manifest.source.files


def test_the_same_checkpoint_gives_the_same_manifest(bench: Bench, tmp_path: Path) -> None:
    first = bench.build(ranks=1)
    other = Bench(tmp_path / "other", bench.python, bench.checkpoint)
    assert other.build(ranks=1) == first


def test_every_stage_has_a_summary(bench: Bench) -> None:
    bench.build(ranks=2)
    finished = [each.name for each in bench.events if isinstance(each, StageFinished)]
    assert finished[:5] == STAGES
    assert bench.summary("convert") == "2 rank files, every tensor compared"
    assert bench.summary("verify").startswith("Qwen3ForCausalLM, NVFP4, FP8 KV cache, 2 ranks")


def test_an_unquantized_model_is_built_in_the_requested_type(
    bench: Bench, plain_checkpoint: Path
) -> None:
    manifest = bench.build(ranks=1, checkpoint=plain_checkpoint, dtype="float16")
    assert manifest.quantization.algo is None
    config = json.loads((bench.out / "config.json").read_text())["pretrained_config"]
    assert config["dtype"] == "float16"


def test_a_failed_build_resumes_at_the_stage_that_failed(bench: Bench) -> None:
    with pytest.raises(BuildCrashed):
        bench.build(environment=surroundings(mode="crash"))
    assert not bench.out.exists()
    bench.build()
    assert bench.summary("convert") == KEPT
    assert bench.summary("build").startswith("2 engines")


def test_a_failed_build_resumes_on_a_disk_that_its_finished_stages_have_filled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildCrashed):
        bench.build(environment=surroundings(mode="crash"))
    kept = sum(path.stat().st_size for path in bench.work.rglob("*") if path.is_file())
    found = inspect_checkpoint(open_checkpoint(bench.checkpoint), tensor_parallel=2, limits=LIMITS)
    needed = found.estimate.disk - kept
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(BuildError, match="free some space"):
        bench.build()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    bench.build()
    assert bench.summary("convert") == KEPT


def test_finished_engines_are_kept_too(bench: Bench) -> None:
    bench.build()
    bench.build(replace_it=True)
    assert bench.summary("convert") == bench.summary("build") == KEPT


def test_weights_replaced_during_the_conversion_leave_nothing_to_resume_from(
    bench: Bench, checkpoint: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(checkpoint, tmp_path / "source")
    weights, converter = source / "model.safetensors", bench.python
    bench.python = tmp_path / "python"
    bench.python.write_text(f'#!/bin/sh\ntouch {weights}\nexec {converter} "$@"\n')
    bench.python.chmod(0o755)
    with pytest.raises(SourceChanged, match=r"model\.safetensors was changed during the build"):
        bench.build(checkpoint=source)
    bench.python = converter
    bench.build(checkpoint=source)
    assert bench.summary("convert") != KEPT


def test_another_number_of_ranks_starts_over(bench: Bench) -> None:
    bench.build(ranks=1)
    bench.build(ranks=2, replace_it=True)
    assert KEPT not in (bench.summary("convert"), bench.summary("build"))


def test_a_truncated_cached_file_is_remade(bench: Bench) -> None:
    bench.build(ranks=1)
    rank_file = bench.work / "rank-checkpoint" / "rank0.safetensors"
    rank_file.write_bytes(rank_file.read_bytes()[:-1])
    bench.build(ranks=1, replace_it=True)
    assert bench.summary("convert") != KEPT


BUILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from engine.trtllm.conftest import Bench, PATIENCE
bench = Bench(Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
bench.build(environment=dict(os.environ))
"""
TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("standin", "killed_at", "kept"),
    [
        ({}, "convert-rank1.json", []),
        ({"version": "0.16.0"}, "rank-checkpoint-stripped", ["convert"]),
        ({"mode": "hang-halfway"}, "engine/rank0.engine", ["convert"]),
        ({"mode": "hang-after-success"}, "engine/rank1.engine", ["convert"]),
    ],
)
def test_a_build_that_is_killed_leaves_nothing_but_its_finished_stages(
    bench: Bench, standin: dict[str, str], killed_at: str, kept: list[str]
) -> None:
    asyncio.run(end_when(bench, standin, bench.work / killed_at, signal.SIGKILL))
    assert not bench.out.exists()
    bench.build()
    assert [stage for stage in STAGES if bench.summary(stage) == KEPT] == kept
    check_files(bench.out, read_manifest(bench.out))
    # Nor processes that the killed build could no longer stop.
    assert not marked(MARK, f"{bench.work}:build")
    assert not {path.name for path in bench.directory.iterdir()} - {"engine", "work"}
    assert not (bench.work / "rank-checkpoint-stripped").exists()


async def end_when(bench: Bench, standin: dict[str, str], appears: Path, number: int) -> None:
    """Build in a child process, and send it a signal as soon as a file exists."""
    paths = (TESTS, bench.directory, bench.python, bench.checkpoint)
    argv = [sys.executable, "-c", BUILD, *map(str, paths)]
    async with started(argv, env=surroundings(**standin)) as child:
        while not appears.exists():
            assert child.returncode is None
            await asyncio.sleep(0)
        os.kill(child.pid, number)
        await child.wait()


def test_a_build_that_is_interrupted_leaves_nothing_running(bench: Bench) -> None:
    unfinished = bench.work / "engine" / "rank0.engine"
    asyncio.run(end_when(bench, {"mode": "hang-halfway"}, unfinished, signal.SIGINT))
    assert not marked(MARK, f"{bench.work}:build")
    assert {path.name for path in bench.directory.iterdir()} == {"work"}


def test_an_output_that_exists_is_not_touched(bench: Bench) -> None:
    bench.out.mkdir()
    (bench.out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExists, match="--replace"):
        bench.build()
    assert [path.name for path in bench.out.iterdir()] == ["thesis.txt"]


def test_an_engine_is_replaced_only_by_a_complete_one(bench: Bench) -> None:
    bench.build(ranks=1)
    before = (bench.out / "manifest.json").read_bytes()
    with pytest.raises(BuildError):
        bench.build(ranks=2, replace_it=True, environment=surroundings(mode="forget-rank"))
    assert (bench.out / "manifest.json").read_bytes() == before
    check_files(bench.out, read_manifest(bench.out))


def test_two_builds_do_not_share_a_work_directory(bench: Bench) -> None:
    with open_stage_cache(bench.work), pytest.raises(BuildError, match="another build works in"):
        bench.build()


def test_a_context_longer_than_the_models_is_refused(bench: Bench, checkpoint: Path) -> None:
    job = job_of(checkpoint, 1)
    assert job.limits is not None
    long = replace(job, limits=replace(job.limits, max_seq_len=5000))
    workshop = BuildContext(bench.python, {}, bench.work, print)
    with pytest.raises(CheckpointUnsupported, match="made for 4096 positions"):
        build_engine(tensorrt_llm_build(long, Options(), workshop), bench.out, print)


def test_a_context_longer_than_a_sliding_window_is_refused(bench: Bench, tmp_path: Path) -> None:
    mistral = write_checkpoint(tmp_path / "c", Shape(family="mistral"))
    config = json.loads((mistral / "config.json").read_text())
    for window, is_refused in ((LIMITS.max_seq_len - 1, True), (LIMITS.max_seq_len, False)):
        (mistral / "config.json").write_text(json.dumps(config | {"sliding_window": window}))
        with (
            pytest.raises(CheckpointUnsupported, match="use at most --max-seq-len 1023")
            if is_refused
            else nullcontext()
        ):
            bench.build(checkpoint=mistral)
        assert bench.out.exists() is not is_refused


def test_a_refused_build_leaves_no_work_directory(bench: Bench) -> None:
    with pytest.raises(CheckpointUnsupported):
        bench.build(ranks=3)
    assert not list(bench.directory.iterdir())


def test_only_a_work_directory_is_discarded(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    discard(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_fp8_model_is_built_and_verified(bench: Bench, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "fp8", Shape(family="llama"), algo="FP8")
    manifest = bench.build(ranks=2, checkpoint=checkpoint)
    assert manifest.quantization.algo == manifest.quantization.kv_cache_algo == "FP8"
    assert bench.summary("convert") == "2 rank files, every tensor compared"


def test_a_checkpoint_without_tokenizer_json_gets_one_and_its_guide(
    bench: Bench, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "slow"
    shutil.copytree(bench.checkpoint, checkpoint)
    (checkpoint / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(DEMO / name, checkpoint)
    manifest = bench.build(checkpoint=checkpoint)
    assert {"tokenizer.json", "xgrammar_tokenizer_info.json"} <= manifest.files.keys()
    assert "tokenizer.json made from vocab.json" in bench.summary("inspect")


def test_a_checkpoint_without_any_tokenizer_is_refused_before_the_conversion(
    bench: Bench, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "mute"
    shutil.copytree(bench.checkpoint, checkpoint)
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(NotACheckpoint, match=r"holds no tokenizer\.json"):
        bench.build(checkpoint=checkpoint)
    assert not bench.out.exists()
    assert not [event for event in bench.events if isinstance(event, StageFinished)]
