"""An engine is checked against its manifest, and every difference is named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.made_checkpoint import Shape, make_checkpoint

from enginix.engine.build import Job, build_engine
from enginix.engine.gguf.build import gguf_build
from enginix.engine.gguf.program import Generator
from enginix.engine.stages import StageEvent, StageFinished
from enginix.engine.verify import verify_engine
from enginix.errors import EngineDamaged, EngineError, NotAnEngine
from enginix.manifest import Check, Limits

FAKE = Path(__file__).parents[1] / "fakes" / "generate.py"

Damage = Callable[[Path], None]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    job = Job(
        name="made",
        checkpoint=make_checkpoint(tmp_path / "checkpoint"),
        limits=Limits(4, 2048, 256),
        check=[Check([1], [5, 6])],
    )
    build_engine(gguf_build(job, None), tmp_path / "engine", lambda event: None)
    return tmp_path / "engine"


def silent(event: StageEvent) -> None:
    """Ignore an event."""


def edit_manifest(engine: Path, **changes: object) -> None:
    path = engine / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def resized(engine: Path, name: str, content: bytes) -> None:
    """Change a file and its manifest entry, so that only its content is wrong."""
    (engine / name).write_bytes(content)
    files = json.loads((engine / "manifest.json").read_text())["files"]
    edit_manifest(engine, files={**files, name: len(content)})


def test_a_complete_engine_matches_its_manifest(engine: Path) -> None:
    events: list[StageEvent] = []

    assert verify_engine(engine, events.append).name == "made"
    summaries = [event.summary for event in events if isinstance(event, StageFinished)]
    assert summaries[0].startswith("6 files, 2.2 MB")
    assert summaries[1] == "53 tensors within model.gguf, 2048 tokens"


def test_a_directory_without_a_manifest_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(NotAnEngine, match=r"it has no manifest\.json"):
        verify_engine(tmp_path, silent)


def test_a_missing_file_is_named(engine: Path) -> None:
    (engine / "tokenizer.json").unlink()

    with pytest.raises(EngineDamaged, match=r"tokenizer\.json is missing, the manifest promises"):
        verify_engine(engine, silent)


def test_a_cut_model_is_named_with_both_sizes(engine: Path) -> None:
    content = (engine / "model.gguf").read_bytes()
    (engine / "model.gguf").write_bytes(content[:-1])

    with pytest.raises(
        EngineDamaged, match=rf"has {len(content) - 1} bytes, .* promises {len(content)};"
    ):
        verify_engine(engine, silent)


def test_an_invalid_model_of_the_right_size_is_refused(engine: Path) -> None:
    resized(engine, "model.gguf", b"GGUF" + bytes(2000))

    with pytest.raises(EngineDamaged, match="has version 0, expected 3"):
        verify_engine(engine, silent)


def test_an_invalid_tokenizer_of_the_right_size_is_refused(engine: Path) -> None:
    resized(engine, "tokenizer.json", b"[1, 2]")

    with pytest.raises(EngineDamaged, match=r"tokenizer\.json: expected a JSON object"):
        verify_engine(engine, silent)


def test_a_vocabulary_of_another_size_than_the_embedding_is_refused(engine: Path) -> None:
    content = (engine / "model.gguf").read_bytes()
    key = b"qwen3.vocab_size" + (4).to_bytes(4, "little")
    assert content.count(key) == 1
    place = content.index(key) + len(key)
    changed = content[:place] + (2047).to_bytes(4, "little") + content[place + 4 :]
    resized(engine, "model.gguf", changed)

    with pytest.raises(EngineDamaged, match="has vocab_size 2047, 2048 tokens and an embedding"):
        verify_engine(engine, silent)


def test_a_context_the_model_does_not_have_is_refused(engine: Path) -> None:
    limits = {"max_batch_size": 4, "max_seq_len": 8192, "max_num_tokens": 256}
    edit_manifest(engine, limits=limits)

    with pytest.raises(EngineDamaged, match="has 4096 positions, the manifest records 8192"):
        verify_engine(engine, silent)


def test_a_model_without_the_promised_quantization_is_refused(engine: Path, tmp_path: Path) -> None:
    job = Job(
        name="plain",
        checkpoint=make_checkpoint(tmp_path / "plain", Shape(weights="bf16")),
        limits=Limits(4, 2048, 256),
    )
    build_engine(gguf_build(job, None), tmp_path / "other", silent)
    resized(engine, "model.gguf", (tmp_path / "other" / "model.gguf").read_bytes())

    with pytest.raises(EngineDamaged, match="holds BF16, F32, the manifest records NVFP4"):
        verify_engine(engine, silent)


def answering(tmp_path: Path, first: int) -> Generator:
    program = shutil.copy(FAKE, tmp_path)
    (tmp_path / "generate.script").write_text(f"count {first}")
    return Generator(Path(sys.executable), program, threads=1)


def test_one_flipped_bit_in_the_weights_is_found(engine: Path) -> None:
    path = engine / "model.gguf"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineDamaged, match=r"model\.gguf has sha256 [0-9a-f]{64}, the manifest"):
        verify_engine(engine, silent)


def test_an_older_manifest_without_hashes_is_checked_by_sizes(engine: Path) -> None:
    edit_manifest(engine, sha256={}, recipe=None)
    assert verify_engine(engine, silent).sha256 == {}


def test_answers_are_compared_on_request(engine: Path, tmp_path: Path) -> None:
    events: list[StageEvent] = []

    verify_engine(engine, events.append, run=lambda: answering(tmp_path, 5))

    assert isinstance(events[-1], StageFinished)
    assert events[-1].summary == "1 of 1 as recorded"


def test_different_answers_are_refused(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineDamaged, match="gives another answer to check 1 of 1"):
        verify_engine(engine, silent, run=lambda: answering(tmp_path, 6))


def test_an_engine_of_another_kind_is_not_run_from_here(engine: Path, tmp_path: Path) -> None:
    edit_manifest(engine, kind="vllm")

    with pytest.raises(EngineError, match="is of kind vllm, whose answers cannot be checked"):
        verify_engine(engine, silent, run=lambda: answering(tmp_path, 5))
