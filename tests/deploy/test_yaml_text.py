"""What the YAML writer writes, a real YAML parser reads back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from enginix.deploy.yaml_text import to_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", "yes", "No", "null", "~", "1", "1e3", "0x1F", "12:30", "2026-01-01", "a: b", "a #b", "- a"]
)
SCALARS = TEXTS | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(VALUES)
def test_a_parser_reads_back_what_was_written(value: Any) -> None:
    # Python's 1 and True are equal.
    assert json.dumps(yaml.safe_load(to_yaml(value))) == json.dumps(value)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "N", "True", "null", "3", "1.5"])
def test_a_string_that_looks_like_another_type_is_quoted(word: str) -> None:
    assert to_yaml({"key": word}) == f'key: "{word}"\n'


def test_it_looks_as_a_person_would_write_it() -> None:
    value = {
        "metadata": {"name": "demo", "labels": {}},
        "ports": [{"name": "http", "port": 9000}, {"port": 1}],
        "command": ["enginix", "--host=::", "0.0.0.0", ["a", "b"]],
    }
    assert to_yaml(value) == (
        "metadata:\n"
        "  name: demo\n"
        "  labels: {}\n"
        "ports:\n"
        "  - name: http\n"
        "    port: 9000\n"
        "  - port: 1\n"
        "command:\n"
        "  - enginix\n"
        '  - "--host=::"\n'
        '  - "0.0.0.0"\n'
        "  - - a\n"
        "    - b\n"
    )
