"""`enginix models` shows which models are pinned."""

from __future__ import annotations

import json

import pytest

from enginix.catalog.load import SourceSpec, find_model, load_catalog
from enginix.cli.main import main
from enginix.cli.models import pinned

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (SourceSpec("org/tiny"), "no"),
        (SourceSpec("org/tiny", "main"), "no"),
        (SourceSpec("org/tiny", COMMIT), "01234567"),
        (SourceSpec("org/tiny", COMMIT, "sha256-x"), "01234567 + hash"),
        (find_model("demo").source, "shipped"),
    ],
)
def test_a_pin_is_a_commit_with_or_without_a_hash(source: SourceSpec, text: str) -> None:
    assert pinned(source) == text


def test_the_table_shows_the_pin_of_every_model_and_truncates_no_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models"]) == 0
    table = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    at = table[0].index("pinned")
    rows = {line.split()[0]: line[at:].split()[0] for line in table[1:]}
    assert rows == {spec.name: pinned(spec.source).split()[0] for spec in load_catalog().values()}


def test_json_shows_the_pins_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["pinned"] for row in rows} == {
        spec.name: spec.source.pinned for spec in load_catalog().values()
    }
