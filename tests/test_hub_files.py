"""What a checkpoint's configuration files say is read the same way for a build and for a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginix.errors import CheckpointDamaged, EngineDamaged
from enginix.hub_files import HubFiles, engine_files

OWN, CONFIG = "generation_config.json", "config.json"
SAMPLING = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}


def checkpoint(directory: Path, own: Any = None, config: Any = None) -> Path:
    for name, content in ((OWN, own), (CONFIG, config)):
        if content is not None:
            (directory / name).write_text(json.dumps(content))
    return directory


def test_without_a_file_of_its_own_it_is_what_the_configuration_says(tmp_path: Path) -> None:
    config = {"eos_token_id": [7, 8], "bos_token_id": 1, "hidden_size": 64, **SAMPLING}

    found = HubFiles(checkpoint(tmp_path, config=config)).generation_config

    assert found == {"eos_token_id": [7, 8], "bos_token_id": 1, **SAMPLING}
    assert HubFiles(tmp_path).end_ids() == [7, 8]


def test_the_language_models_part_of_a_configuration_counts(tmp_path: Path) -> None:
    config = {"eos_token_id": None, "text_config": {"eos_token_id": [7, 8], "bos_token_id": 1}}
    assert HubFiles(checkpoint(tmp_path, config=config)).end_ids() == [7, 8]


def test_its_own_file_wins_and_samples_as_it_says(tmp_path: Path) -> None:
    own = {"eos_token_id": 9, "temperature": 0.5}
    config = {"eos_token_id": [7, 8], **SAMPLING}
    assert HubFiles(checkpoint(tmp_path, own, config)).generation_config == own


@pytest.mark.parametrize("own", [{}, {"eos_token_id": None}, {"temperature": 0.5}])
def test_an_end_that_its_own_file_leaves_out_is_the_configurations(
    tmp_path: Path, own: dict[str, Any]
) -> None:
    config = {"eos_token_id": [7, 8], "top_k": 5}

    found = HubFiles(checkpoint(tmp_path, own, config)).generation_config

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
    assert HubFiles(checkpoint(tmp_path, config={"eos_token_id": stated})).end_ids() == ids


@pytest.mark.parametrize("name", [OWN, CONFIG])
@pytest.mark.parametrize("content", ["{", "[]", "\0", "[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointDamaged, match=name):
        _ = HubFiles(tmp_path).generation_config


def write(directory: Path, **files: Any) -> HubFiles:
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return HubFiles(directory)


def test_the_tokenizers_end_counts_once_beside_the_generation_configs(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        generation_config={"eos_token_id": [7, 8]},
        tokenizer_config={"eos_token": {"content": "</s>"}},
    )

    assert files.end_ids({"</s>": 2}.get) == [7, 8, 2]
    assert files.end_ids({"</s>": 8}.get) == [7, 8]
    assert files.end_ids({}.get) == [7, 8]
    assert files.end_ids() == [7, 8]


def test_a_special_token_is_the_tokenizer_configs_before_the_maps(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        special_tokens_map={"bos_token": "<a>", "eos_token": {"content": "<b>"}, "pad_token": None},
        tokenizer_config={"bos_token": "<c>", "eos_token": None, "chat_template": "x"},
    )

    assert files.special_tokens == {"bos_token": "<c>", "eos_token": "<b>"}


def test_a_template_of_its_own_file_wins_over_the_tokenizer_configs(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "b"}, {"name": "tool_use", "template": "c"}]
    files = write(
        tmp_path, chat_template={"chat_template": "a"}, tokenizer_config={"chat_template": named}
    )
    assert files.chat_templates == {"default": "b", "tool_use": "c"}

    (tmp_path / "chat_template.jinja").write_text("d")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("e")
    assert HubFiles(tmp_path).chat_templates == {"default": "d", "tool_use": "c", "rag": "e"}


def test_a_template_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("x" * ((1 << 20) + 1))
    with pytest.raises(CheckpointDamaged, match=r"chat_template\.jinja cannot be read: .*1 MB"):
        _ = HubFiles(tmp_path).chat_templates


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    files = HubFiles(tmp_path)

    assert files.config == files.tokenizer_config == files.generation_config == {}
    assert files.special_tokens == files.chat_templates == {}
    assert files.end_ids() == []


def test_a_broken_file_of_an_engine_asks_for_another_build(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(EngineDamaged, match=r"tokenizer_config\.json is not .*build the engine"):
        _ = engine_files(tmp_path).special_tokens
