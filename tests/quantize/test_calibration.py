"""Calibration files: lines of text, or of JSON; what is too little or wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginix.errors import UsageError
from enginix.quantize.calibration import read_calibration


def lines_in(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_each_different_line_is_a_sample(tmp_path: Path) -> None:
    path = lines_in(tmp_path / "texts.txt", ["", *(f"line {n % 20}" for n in range(60)), "  "])
    found = read_calibration(path, 512)
    assert found.samples == [{"text": f"line {n}"} for n in range(20)]


def test_json_lines_hold_texts_and_chats(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "Hello"}], "id": 7}
    texts = [{"text": f"line {n}"} for n in range(20)]
    path = lines_in(tmp_path / "chats.jsonl", [json.dumps(each) for each in [chat, *texts]])
    assert read_calibration(path, 512).samples == [{"messages": chat["messages"]}, *texts]


def test_no_more_are_read_than_wanted(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(16)) + b"\xff\n")
    assert len(read_calibration(path, 16).samples) == 16


def test_three_lines_are_too_few_however_often_they_are_repeated(tmp_path: Path) -> None:
    path = lines_in(tmp_path / "texts.txt", ["one", "two", "three"] * 50)
    with pytest.raises(UsageError, match="has 3 different samples, expected at least 16"):
        read_calibration(path, 512)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"text": "a', "chats.jsonl, line 1 is not JSON: "),
        (b"[" * 100_000, "chats.jsonl, line 1 is not JSON: "),
        (b'{"prompt": "a"}', "line 1: expected an object with `text`, a string, or `messages`"),
        (b'{"text": 7}', "line 1: expected an object with `text`, a string, or `messages`"),
        (b'{"messages": ["a"]}', "line 1: expected an object with `text`, a string, or `messages`"),
        (b"\xff\xfe", "chats.jsonl, line 1 is not UTF-8: "),
        (b"a" * (5 << 20), "chats.jsonl, line 1 has over 4 MiB; expected one sample a line"),
    ],
    ids=["cut", "deep", "other key", "number", "no role", "UTF-16", "huge"],
)
def test_a_line_that_is_no_sample_is_named(line: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(UsageError, match="--calibration: ") as caught:
        read_calibration(path, 512)
    assert sentence in str(caught.value)


def test_a_missing_file_and_a_directory_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match=f"--calibration: {path} cannot be read: "):
            read_calibration(path, 512)
