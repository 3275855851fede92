"""A gguf engine: its files, its manifest, and what is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from engine.gguf.conftest import Make
from fakes.made_checkpoint import DEMO

from enginix.catalog.load import find_model
from enginix.chat.tokens import Tokenizer
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.build import Job, build_engine
from enginix.engine.gguf.build import gguf_build
from enginix.engine.gguf.program import Generator
from enginix.engine.stages import StageEvent, StageFinished
from enginix.errors import (
    BuildError,
    CheckpointDamaged,
    CheckpointUnsupported,
    EngineDamaged,
    SourceChanged,
    UsageError,
)
from enginix.gguf_header import read_header
from enginix.manifest import Check, Limits, Manifest, check_files, read_manifest

FAKE = Path(__file__).parents[2] / "fakes" / "generate.py"


def job(checkpoint: Path, **more: object) -> Job:
    made = Job(name="made", checkpoint=checkpoint, limits=Limits(4, 2048, 256))
    return replace(made, **more)  # type: ignore[arg-type]


def build(job: Job, out: Path, generator: Generator | None = None) -> Manifest:
    return build_engine(gguf_build(job, generator), out, lambda event: None)


def test_an_engine_has_its_model_its_tokenizer_and_nothing_of_the_config(
    make: Make, tmp_path: Path
) -> None:
    build(job(make()), tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "chat_template.jinja",
        "generation_config.json",
        "manifest.json",
        "model.gguf",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_manifest_is_what_was_built(make: Make, tmp_path: Path) -> None:
    checkpoint = make(architecture="qwen3moe")

    manifest = build(job(checkpoint, repo="a/b", revision="c" * 40), tmp_path / "out")

    assert read_manifest(tmp_path / "out") == manifest
    check_files(tmp_path / "out", manifest)
    assert (manifest.name, manifest.kind) == ("made", "gguf")
    assert manifest.architecture == "Qwen3MoeForCausalLM"
    assert (manifest.quantization.algo, manifest.quantization.kv_cache_algo) == ("NVFP4", "FP8")
    assert (manifest.source.repo, manifest.source.revision) == ("a/b", "c" * 40)
    assert manifest.limits == Limits(4, 2048, 256)
    assert manifest.chat.tools == "hermes-json"


@pytest.mark.parametrize("change", ["replaced", "written to", "removed", "added"])
def test_a_source_file_that_changes_during_the_build_leaves_no_engine(
    make: Make, tmp_path: Path, change: str
) -> None:
    checkpoint = make()
    weights = checkpoint / "model.safetensors"

    def load(directory: Path) -> list[list[int]]:
        match change:
            case "replaced":
                shutil.copyfile(weights, checkpoint / "other")
                os.replace(checkpoint / "other", weights)
            case "written to":
                with weights.open("r+b") as file:
                    file.seek(-1, os.SEEK_END)
                    file.write(b"\0")
            case "removed":
                (checkpoint / "added_tokens.json").unlink()
            case "added":
                (checkpoint / "special.model").write_bytes(b"")
        return []

    with pytest.raises(SourceChanged, match="was changed during the build; nothing of it"):
        build(job(checkpoint, load_text=load), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ends_that_only_the_configuration_names_end_the_engines_answers(
    make: Make, tmp_path: Path
) -> None:
    checkpoint = make(config={"eos_token_id": [2012, 2013, 7]})
    (checkpoint / "generation_config.json").unlink()

    build(job(checkpoint), tmp_path / "out")

    assert Tokenizer.load(tmp_path / "out").stop_token_ids == (2012, 2013, 7, 2014)
    header = read_header(tmp_path / "out" / "model.gguf").values
    names = ("eos", "eot", "eom")
    assert [header[f"tokenizer.ggml.{name}_token_id"] for name in names] == [2014, 2012, 2013]


def test_every_source_file_is_recorded_with_its_hash(make: Make, tmp_path: Path) -> None:
    checkpoint = make(shards=2)

    files = build(job(checkpoint), tmp_path / "out").source.files

    assert "model-00002-of-00002.safetensors" in files
    for name, digest in files.items():
        assert hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() == digest


def test_two_builds_give_the_same_bytes(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    elsewhere = shutil.copytree(checkpoint, tmp_path / "elsewhere")

    build(job(checkpoint), tmp_path / "one")
    build(job(elsewhere), tmp_path / "two")

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_checkpoint_that_is_read_only_can_be_built_and_its_engine_removed(
    make: Make, tmp_path: Path
) -> None:
    checkpoint = make()
    for path in checkpoint.iterdir():
        path.chmod(stat.S_IRUSR)

    build(job(checkpoint), tmp_path / "out")

    assert os.access(tmp_path / "out" / "tokenizer.json", os.W_OK)


def test_every_stage_has_a_summary(make: Make, tmp_path: Path) -> None:
    events: list[StageEvent] = []

    build_engine(gguf_build(job(make()), None), tmp_path / "out", events.append)

    finished = {event.name: event for event in events if isinstance(event, StageFinished)}
    assert list(finished) == ["inspect", "repack", "hash", "verify", "check", "store"]
    assert finished["check"].summary.startswith("not run: no triton-cpu runtime here")
    assert all(event.summary for event in finished.values())


@pytest.fixture
def counting(tmp_path: Path) -> Generator:
    """Answers 5, 6, 7, ... for any model: the engine's check has its own tests."""
    program = shutil.copy(FAKE, tmp_path)
    (tmp_path / "generate.script").write_text("count 5")
    return Generator(Path(sys.executable), program, threads=1)


def test_answers_to_the_prompts_are_recorded(
    make: Make, counting: Generator, tmp_path: Path
) -> None:
    manifest = build(
        job(make(), load_text=lambda directory: [[1, 2], [3]]), tmp_path / "out", counting
    )

    assert [check.prompt_ids for check in manifest.check] == [[1, 2], [3]]
    assert manifest.check[0].answer_ids == list(range(5, 21))


def test_a_prompt_that_fills_the_context_is_not_asked(
    make: Make, counting: Generator, tmp_path: Path
) -> None:
    small = Limits(1, 20, 16)

    manifest = build(
        job(make(), limits=small, load_text=lambda directory: [[1], [1] * 5]),
        tmp_path / "out",
        counting,
    )

    assert [check.prompt_ids for check in manifest.check] == [[1]]


def test_an_engine_with_different_answers_is_not_made(
    make: Make, counting: Generator, tmp_path: Path
) -> None:
    known = [Check([1], [5, 6]), Check([2], [9])]

    with pytest.raises(EngineDamaged, match="gives another answer to check 2 of 2"):
        build(job(make(), check=known), tmp_path / "out", counting)

    assert not (tmp_path / "out").exists()


def test_a_known_check_gives_the_same_manifest_with_and_without_a_runtime(
    make: Make, counting: Generator, tmp_path: Path
) -> None:
    known = job(make(), check=[Check([1], [5, 6])])

    assert build(known, tmp_path / "one", counting) == build(known, tmp_path / "two")


def test_the_demo_engine_is_checked_by_the_catalogues_answers(tmp_path: Path) -> None:
    spec = find_model("demo")

    manifest = build(job(DEMO, check=spec.check), tmp_path / "out")

    assert manifest.check == spec.check


def test_more_than_the_models_context_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointUnsupported, match="max_seq_len is 8192, but the model was made for"
    ):
        build(job(make(), limits=Limits(1, 8192, 256)), tmp_path / "out")


def test_ranks_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="tensor parallel 2 is not for the gguf kind"):
        gguf_build(job(make(), tensor_parallel=2), None)


@pytest.mark.parametrize("algo", ["FP8", "W4A16_AWQ", "NVFP4_AWQ", "MXFP8"])
def test_another_quantization_is_refused(algo: str, make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    path = checkpoint / "hf_quant_config.json"
    path.write_text(path.read_text().replace('"NVFP4"', f'"{algo}"'))

    with pytest.raises((CheckpointUnsupported, CheckpointDamaged)):
        build(job(checkpoint), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["generation_config.json", "special_tokens_map.json"])
def test_a_file_beside_the_weights_that_is_no_json_is_refused(
    name: str, make: Make, tmp_path: Path
) -> None:
    checkpoint = make()
    (checkpoint / name).write_text("{")

    with pytest.raises(CheckpointDamaged, match=f"{checkpoint.name}/{name} is not readable JSON"):
        build(job(checkpoint), tmp_path / "out")


def test_damage_found_late_leaves_nothing(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    tensor = open_checkpoint(checkpoint).tensors["model.norm.weight"]
    with tensor.file.open("r+b") as file:
        file.seek(tensor.start)
        file.write(b"\x80\x7f")

    with pytest.raises(CheckpointDamaged, match="numbers that are infinite"):
        build(job(checkpoint), tmp_path / "engines" / "out")

    assert not (tmp_path / "engines").exists()


def test_an_unwritable_output_is_named(make: Make) -> None:
    with pytest.raises(BuildError, match="cannot be written to /proc/out: "):
        build(job(make()), Path("/proc/out"))
