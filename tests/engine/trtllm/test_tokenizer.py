"""The file for guided decoding equals the output of TensorRT-LLM's own tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from enginix.engine.text.staging import stage_text
from enginix.engine.trtllm.tokenizer import (
    TOKENIZER_PATTERNS,
    end_ids,
    read_vocabulary,
    write_guide,
)
from enginix.errors import CheckpointDamaged

DEMO = Path(__file__).parents[3] / "python" / "enginix" / "catalog" / "checkpoints" / "demo"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo checkpoint's tokenizer: byte-level BPE, with added tokens."""
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    return tmp_path


def guide(directory: Path) -> dict[str, Any]:
    write_guide(directory)
    found: dict[str, Any] = json.loads((directory / "xgrammar_tokenizer_info.json").read_text())
    return found


def write(directory: Path, name: str, data: object) -> None:
    (directory / name).write_text(json.dumps(data))


def test_the_file_has_what_the_runtime_reads_and_nothing_else(demo: Path) -> None:
    found = guide(demo)
    assert set(found) == {"encoded_vocab", "tokenizer_str", "stop_token_ids"}
    assert all(isinstance(token, str) for token in found["encoded_vocab"])
    assert all(isinstance(number, int) for number in found["stop_token_ids"])


def test_tokens_are_spelled_and_ordered_as_the_library_has_them(demo: Path) -> None:
    library = tokenizers.Tokenizer.from_file(str(demo / "tokenizer.json"))
    ordered = sorted(library.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1])
    assert guide(demo)["encoded_vocab"] == [token for token, _ in ordered]


def test_the_tokenizer_in_it_is_the_same_tokenizer(demo: Path) -> None:
    inside = tokenizers.Tokenizer.from_str(guide(demo)["tokenizer_str"])
    outside = tokenizers.Tokenizer.from_file(str(demo / "tokenizer.json"))
    assert inside.to_str() == outside.to_str()


def test_unigrams_are_numbered_by_their_place(tmp_path: Path) -> None:
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["b", -2.0]]}
    added = [{"id": 3, "content": "</s>"}]
    write(tmp_path, "tokenizer.json", {"model": model, "added_tokens": added})
    assert read_vocabulary(tmp_path) == ["<unk>", "▁a", "b", "</s>"]


def test_an_id_without_a_token_does_not_shift_the_others(tmp_path: Path) -> None:
    added = [{"id": 4, "content": "<end>"}]
    write(tmp_path, "tokenizer.json", {"model": {"vocab": {"a": 0}}, "added_tokens": added})
    assert read_vocabulary(tmp_path) == ["a", "", "", "", "<end>"]


@pytest.mark.parametrize(
    ("generation", "settings", "ends"),
    [
        ({"eos_token_id": 2}, {}, [2]),
        ({"eos_token_id": [2, 1]}, {"eos_token": "b"}, [2, 1]),
        ({}, {"eos_token": {"content": "c"}}, [2]),
        ({"eos_token_id": 0}, {"eos_token": "c"}, [0, 2]),
        ({}, {"eos_token": "unknown"}, []),
        ({}, {}, []),
    ],
)
def test_ends_are_those_of_both_files(
    tmp_path: Path, generation: object, settings: object, ends: list[int]
) -> None:
    write(tmp_path, "tokenizer.json", {"model": {"vocab": {"a": 0, "b": 1, "c": 2}}})
    write(tmp_path, "generation_config.json", generation)
    write(tmp_path, "tokenizer_config.json", settings)
    assert end_ids(tmp_path) == ends


def test_ends_that_only_the_configuration_names_end_guided_answers_too(tmp_path: Path) -> None:
    source, engine = tmp_path / "source", tmp_path / "engine"
    source.mkdir()
    engine.mkdir()
    write(source, "tokenizer.json", {"model": {"vocab": {"a": 0, "b": 1, "c": 2}}})
    write(source, "config.json", {"eos_token_id": [2, 1]})

    stage_text(source, engine, TOKENIZER_PATTERNS)
    assert guide(engine)["stop_token_ids"] == [2, 1]
    assert not (engine / "config.json").exists()


def test_without_an_end_there_is_no_guided_decoding(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    write_guide(tmp_path)
    assert not (tmp_path / "xgrammar_tokenizer_info.json").exists()


def test_an_impossible_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.json", {"model": {"vocab": {"a": 10**12}}})
    with pytest.raises(CheckpointDamaged, match="is not a tokenizer"):
        read_vocabulary(tmp_path)
