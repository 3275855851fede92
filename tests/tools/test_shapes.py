"""The tool that compares our table of shapes with the installed SDKs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway.type_tables import are_installed

from enginix.errors import ProcessError
from enginix.process import run

pytest.importorskip("anthropic", reason="not packaged everywhere")
pytest.importorskip("openai", reason="not packaged everywhere")

ROOT = Path(__file__).parents[2]
COMPARE = ROOT / "tools" / "shapes" / "compare_shapes.py"
KEPT = ROOT / "tests" / "recordings" / "shapes"

Change = Callable[[dict[str, dict[str, str]]], object]


def compare(directory: Path, change: Change) -> str:
    """The tool's report on the table after a change in its chat shapes."""
    shutil.copytree(KEPT, directory)
    file = directory / "chat.json"
    shapes = json.loads(file.read_text(encoding="utf-8"))
    change(shapes)
    file.write_text(json.dumps(shapes), encoding="utf-8")
    return run([sys.executable, str(COMPARE), str(directory)])


@pytest.mark.skipif(not are_installed(), reason="other releases than the table was made from")
def test_the_table_holds_what_the_sdks_require(tmp_path: Path) -> None:
    report = compare(tmp_path / "shapes", lambda shapes: None)
    assert report == "every shape holds what the installed SDKs require\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda shapes: shapes["Choice"].pop("index"),
            "Choice.index: openai.types.chat.chat_completion requires it",
        ),
        (
            lambda shapes: shapes["Choice"].update(finish_reason="'stop'|'weary'"),
            "Choice.finish_reason: openai.types.chat.chat_completion does not know ['weary']",
        ),
        (
            lambda shapes: shapes["ChatCompletion"].update(id="string|null"),
            "ChatCompletion.id: openai.types.chat.chat_completion takes no null",
        ),
    ],
)
def test_a_field_that_an_sdk_requires_is_reported_as_missing(
    change: Change, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ProcessError) as failed:
        compare(tmp_path / "shapes", change)
    assert expected in str(failed.value)
