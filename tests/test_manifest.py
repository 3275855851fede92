"""The manifest is whole or absent, and what does not fit is named by its path."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from enginix.errors import EngineDamaged, EngineError, NotAnEngine
from enginix.manifest import (
    Accuracy,
    BuiltWith,
    Chat,
    Check,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    check_files,
    manifest_hash,
    read_manifest,
    record_accuracy,
    write_manifest,
)

MANIFEST = Manifest(
    name="tiny",
    kind="gguf",
    architecture="Qwen3ForCausalLM",
    source=Source(repo=None, revision=None, files={"config.json": "00" * 32}),
    quantization=Quantization("NVFP4", "FP8", 16, ["lm_head"]),
    parallelism=Parallelism(),
    limits=Limits(max_batch_size=4, max_seq_len=128, max_num_tokens=64),
    built_with=BuiltWith(enginix="0.1.0"),
    files={"model.gguf": 3},
    chat=Chat("think-tags", "hermes-json"),
    check=[Check([1, 2], [3])],
)


def written(directory: Path, **changes: object) -> Path:
    data = asdict(MANIFEST) | changes
    (directory / "manifest.json").write_text(json.dumps(data))
    return directory


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_weights_are_the_files_of_all_ranks_without_the_tokenizer() -> None:
    files = {
        "rank0.engine": 5,
        "rank1.engine": 6,
        "tokenizer.json": 9,
        "checkpoint/a.safetensors": 7,
    }

    assert replace(MANIFEST, files=files).weights_bytes == 18
    assert MANIFEST.weights_bytes == 3


def test_writing_leaves_no_other_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_directory_without_manifest_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(NotAnEngine, match=r"has no manifest\.json; build one with"):
        read_manifest(tmp_path)


def test_a_file_is_no_engine(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(NotAnEngine, match="not a directory"):
        read_manifest(tmp_path / "model.gguf")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"schema_version": 1'])
def test_half_a_manifest_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(EngineDamaged, match="build the engine again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '{"schema_version": 99}'])
def test_another_schema_version_names_both(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(EngineError, match="this enginix reads 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"limits": {"max_batch_size": "16"}},
            "limits: max_batch_size: expected a whole number, got '16'",
        ),
        ({"parallelism": {"tp": True}}, "tp: expected a whole number, got True"),
        ({"parallelism": {"tp": 0}}, "parallelism: tp: expected at least 1, got 0"),
        (
            {"limits": {"max_batch_size": 4, "max_seq_len": -1, "max_num_tokens": 64}},
            "limits: max_seq_len: expected at least 1, got -1",
        ),
        ({"source": []}, "source: expected an object"),
        ({"files": {"a": None}}, r"files\.a: expected a whole number, got None"),
        (
            {"check": [{"prompt_ids": [1, "2"], "answer_ids": []}]},
            r"prompt_ids\[1\]: expected a whole number",
        ),
        ({"color": "red"}, r"unknown keys \['color'\]"),
        ({"limits": {}}, "limits: max_batch_size, max_seq_len, max_num_tokens are missing"),
        ({"kind": "onnx"}, "kind: expected one of tensorrt-llm, gguf"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(EngineDamaged, match=words):
        read_manifest(written(tmp_path, **changes))


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    with pytest.raises(EngineDamaged, match=r"model\.gguf is missing"):
        check_files(tmp_path, MANIFEST)


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"12")
    with pytest.raises(EngineDamaged, match="has 2 bytes, the manifest promises 3"):
        check_files(tmp_path, MANIFEST)


def test_whole_files_pass(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"123")
    check_files(tmp_path, replace(MANIFEST, check=[]))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../other/model.gguf",
        "weights/../../x",
        "",
        ".",
        "..",
        "a//b",
        "a/./b",
        "a\0b",
    ],
)
@pytest.mark.parametrize("where", ["files", "sha256"])
def test_a_file_outside_of_the_engine_is_refused(tmp_path: Path, where: str, name: str) -> None:
    values = {"files": 3, "sha256": "00" * 32}
    written(tmp_path, **{where: {name: values[where]}})
    with pytest.raises(EngineDamaged, match="expected a path within the engine"):
        read_manifest(tmp_path)


def test_a_file_in_a_folder_of_the_engine_is_fine(tmp_path: Path) -> None:
    written(tmp_path, files={"tokenizer/vocab.json": 1})
    assert read_manifest(tmp_path).files == {"tokenizer/vocab.json": 1}


def test_a_link_out_of_the_engine_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (tmp_path / "secret").write_text("abc")
    (engine / "model.gguf").symlink_to(tmp_path / "secret")
    with pytest.raises(EngineDamaged, match="leads out of the engine"):
        check_files(engine, MANIFEST)


def test_a_folder_that_is_a_link_out_of_the_engine_is_refused(tmp_path: Path) -> None:
    engine, elsewhere = tmp_path / "engine", tmp_path / "elsewhere"
    engine.mkdir()
    elsewhere.mkdir()
    (elsewhere / "vocab.json").write_text("abc")
    (engine / "tokenizer").symlink_to(elsewhere)
    with pytest.raises(EngineDamaged, match="leads out of the engine"):
        check_files(engine, replace(MANIFEST, files={"tokenizer/vocab.json": 3}))


def test_an_engine_behind_a_link_and_links_within_it_are_fine(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "weights").write_text("abc")
    (engine / "model.gguf").symlink_to("weights")
    (tmp_path / "result").symlink_to(engine)
    check_files(tmp_path / "result", MANIFEST)


def test_links_that_lead_to_each_other_are_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to("other")
    (tmp_path / "other").symlink_to("model.gguf")
    with pytest.raises(EngineDamaged, match="is missing"):
        check_files(tmp_path, MANIFEST)


ACCURACY = Accuracy(12.5, "english.txt", "00" * 32, 4000, 512, 256, {"enginix": "0.1.0"})


def test_a_measurement_is_added_and_the_engine_stays_the_same_engine(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    before = (tmp_path / "manifest.json").read_bytes()
    engine = manifest_hash(tmp_path)
    assert engine == hashlib.sha256(before).hexdigest()

    record_accuracy(tmp_path, ACCURACY, engine)
    record_accuracy(tmp_path, replace(ACCURACY, perplexity=13.0), engine)

    assert read_manifest(tmp_path) == replace(MANIFEST, accuracy=replace(ACCURACY, perplexity=13.0))
    assert manifest_hash(tmp_path) == engine
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    write_manifest(tmp_path, replace(read_manifest(tmp_path), accuracy=None))
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_an_older_manifest_keeps_its_fields_when_a_measurement_is_added(tmp_path: Path) -> None:
    older = asdict(MANIFEST)
    for key in ("accuracy", "recipe", "sha256"):
        del older[key]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(older))
    path.chmod(0o640)
    engine = manifest_hash(tmp_path)

    record_accuracy(tmp_path, ACCURACY, engine)

    assert json.loads(path.read_text()).keys() == {*older, "accuracy"}
    assert manifest_hash(tmp_path) == engine
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_measurement_of_an_engine_that_was_replaced_is_not_recorded(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    engine = manifest_hash(tmp_path)
    write_manifest(tmp_path, replace(MANIFEST, files={"model.gguf": 4}))

    with pytest.raises(EngineError, match="was built again while it was measured"):
        record_accuracy(tmp_path, ACCURACY, engine)
    assert read_manifest(tmp_path).accuracy is None


def test_an_engine_that_is_read_only_is_not_changed_even_by_root(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            record_accuracy(tmp_path, ACCURACY, manifest_hash(tmp_path))
        assert read_manifest(tmp_path) == MANIFEST
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-Infinity"])
def test_a_perplexity_that_json_has_no_number_for_is_refused(number: str, tmp_path: Path) -> None:
    text = json.dumps(asdict(replace(MANIFEST, accuracy=ACCURACY)))
    (tmp_path / "manifest.json").write_text(text.replace("12.5", number))

    with pytest.raises(EngineDamaged, match="perplexity: expected a finite number"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("read", [read_manifest, manifest_hash])
@pytest.mark.parametrize("what", ["fifo", "device", "directory"])
def test_a_manifest_that_is_no_file_is_refused(
    tmp_path: Path, read: Callable[[Path], object], what: str
) -> None:
    path = tmp_path / "manifest.json"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            path.mkdir()
    with pytest.raises(EngineDamaged, match=r"manifest\.json is not a regular file"):
        read(tmp_path)
