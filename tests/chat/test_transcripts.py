"""Complete replies of each model family, at every chunk size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat.speech import RECORDINGS, calls, every_chunk_size, heard

from enginix.chat.reply import PARSERS

TRANSCRIPTS = sorted((RECORDINGS / "transcripts").glob("*.txt"))


def expectation(path: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return expected


@every_chunk_size
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_reply_is_understood(path: Path, chunk: int) -> None:
    expected = expectation(path)
    how = {name: expected[name] for name in ("reasoning", "tools", "starts_inside", "definitions")}
    message = heard(path.read_text(encoding="utf-8"), chunk, **how)
    assert message.content == expected["content"]
    assert message.reasoning == expected["thought"]
    assert calls(message) == [(call["name"], call["arguments"]) for call in expected["calls"]]


def test_every_parser_has_a_transcript() -> None:
    expectations = [expectation(path) for path in TRANSCRIPTS]
    spoken = {expected[kind] for expected in expectations for kind in ("reasoning", "tools")}
    assert spoken - {None} == PARSERS.keys()
