"""What a client leaves out is taken from generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateway.harness import CHECKPOINT

from enginix.errors import EngineDamaged
from enginix.gateway.prompt.defaults import SamplingDefaults, read_sampling_defaults


def test_the_demo_is_greedy_and_its_answers_end() -> None:
    found = read_sampling_defaults(CHECKPOINT)
    assert found == SamplingDefaults(temperature=0.0, max_new_tokens=4096)


def test_without_the_file_openais_defaults_apply(tmp_path: Path) -> None:
    assert read_sampling_defaults(tmp_path) == SamplingDefaults()


@pytest.mark.parametrize("longest", ["4096", True, [1]])
def test_a_longest_answer_that_is_no_number_is_damage(tmp_path: Path, longest: object) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_new_tokens": longest}))
    with pytest.raises(EngineDamaged, match="max_new_tokens: expected a number"):
        read_sampling_defaults(tmp_path)
