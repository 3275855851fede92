"""What ends an answer and how a model samples reaches the engine, whoever says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginix.engine.generation_config import (
    generation_config_bytes,
    read_end_ids,
    read_generation_config,
)
from enginix.errors import CheckpointDamaged

OWN, CONFIG = "generation_config.json", "config.json"
SAMPLING = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}


def checkpoint(directory: Path, own: Any = None, config: Any = None) -> Path:
    for name, content in ((OWN, own), (CONFIG, config)):
        if content is not None:
            (directory / name).write_text(json.dumps(content))
    return directory


def test_without_a_file_of_its_own_it_is_what_the_configuration_says(tmp_path: Path) -> None:
    config = {"eos_token_id": [7, 8], "bos_token_id": 1, "hidden_size": 64, **SAMPLING}

    found = read_generation_config(checkpoint(tmp_path, config=config))

    assert found == {"eos_token_id": [7, 8], "bos_token_id": 1, **SAMPLING}
    assert read_end_ids(tmp_path) == [7, 8]


def test_the_language_models_part_of_a_configuration_counts(tmp_path: Path) -> None:
    config = {"eos_token_id": None, "text_config": {"eos_token_id": [7, 8], "bos_token_id": 1}}
    assert read_end_ids(checkpoint(tmp_path, config=config)) == [7, 8]


def test_its_own_file_wins_and_samples_as_it_says(tmp_path: Path) -> None:
    own = {"eos_token_id": 9, "temperature": 0.5}
    config = {"eos_token_id": [7, 8], **SAMPLING}
    assert read_generation_config(checkpoint(tmp_path, own, config)) == own


@pytest.mark.parametrize("own", [{}, {"eos_token_id": None}, {"temperature": 0.5}])
def test_an_end_that_its_own_file_leaves_out_is_the_configurations(
    tmp_path: Path, own: dict[str, Any]
) -> None:
    config = {"eos_token_id": [7, 8], "top_k": 5}

    found = read_generation_config(checkpoint(tmp_path, own, config))

    assert found.pop("eos_token_id") == [7, 8]
    assert found == {key: value for key, value in own.items() if value is not None}


@pytest.mark.parametrize(
    ("stated", "ids"),
    [
        (None, []),
        (3, [3]),
        ([3, 4, 3], [3, 4]),
        ([None, "x", True, 5], [5]),
        ("</s>", []),
        ([], []),
    ],
)
def test_ends_are_ids_each_once(tmp_path: Path, stated: object, ids: list[int]) -> None:
    assert read_end_ids(checkpoint(tmp_path, config={"eos_token_id": stated})) == ids


def test_a_file_that_says_all_reaches_the_engine_byte_for_byte(tmp_path: Path) -> None:
    text = '{ "eos_token_id" : 7, "pad_token_id": null }'
    (tmp_path / OWN).write_text(text)
    (tmp_path / CONFIG).write_text(json.dumps({"eos_token_id": 8}))
    assert generation_config_bytes(tmp_path) == text.encode()


@pytest.mark.parametrize("own", [None, {"temperature": 0.5}])
def test_what_is_completed_is_the_engines_own_file(tmp_path: Path, own: Any) -> None:
    made = generation_config_bytes(checkpoint(tmp_path, own, {"eos_token_id": [7, 8]}))
    assert made is not None
    assert json.loads(made) == {**(own or {}), "eos_token_id": [7, 8]}


def test_where_nothing_is_known_there_is_no_file(tmp_path: Path) -> None:
    assert generation_config_bytes(checkpoint(tmp_path, config={"hidden_size": 1})) is None


@pytest.mark.parametrize("name", [OWN, CONFIG])
@pytest.mark.parametrize("content", ["{", "[]", "\0", "[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointDamaged, match=name):
        read_generation_config(tmp_path)
