"""The text is the one that ships, or a file of plain text."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from enginix.accuracy.text import read_text
from enginix.errors import UsageError


def test_an_english_text_ships() -> None:
    text = read_text(None)

    assert text.name == "english.txt"
    assert len(text.content.split()) > 2000
    assert text.sha256 == hashlib.sha256(text.content.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"abc\xff", "is not UTF-8: invalid start byte at byte 3"),
        (b"GGUF\x00\xfe\xff", "is not UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=why):
        read_text(path)


def test_a_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


def test_a_text_whose_name_is_not_utf_8_has_a_name_that_json_can_hold(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text("some words")
    assert read_text(path).name == "caf\ufffd.txt"
