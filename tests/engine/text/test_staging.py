"""End tokens and sampling defaults reach the engine, whichever file states them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginix.engine.text.staging import generation_config_bytes

OWN, CONFIG = "generation_config.json", "config.json"


def checkpoint(directory: Path, own: Any = None, config: Any = None) -> Path:
    for name, content in ((OWN, own), (CONFIG, config)):
        if content is not None:
            (directory / name).write_text(json.dumps(content))
    return directory


def test_a_complete_generation_config_is_copied_byte_for_byte(tmp_path: Path) -> None:
    text = '{ "eos_token_id" : 7, "pad_token_id": null }'
    (tmp_path / OWN).write_text(text)
    (tmp_path / CONFIG).write_text(json.dumps({"eos_token_id": 8}))
    assert generation_config_bytes(tmp_path) == text.encode()


@pytest.mark.parametrize("own", [None, {"temperature": 0.5}])
def test_what_is_completed_is_the_engines_own_file(tmp_path: Path, own: Any) -> None:
    made = generation_config_bytes(checkpoint(tmp_path, own, {"eos_token_id": [7, 8]}))
    assert made is not None
    assert json.loads(made) == {**(own or {}), "eos_token_id": [7, 8]}


def test_without_any_values_there_is_no_file(tmp_path: Path) -> None:
    assert generation_config_bytes(checkpoint(tmp_path, config={"hidden_size": 1})) is None
