"""A log is turned over while its server goes on writing into it."""

from __future__ import annotations

from pathlib import Path

from enginix.serve.log import RotatingLog


def test_a_large_log_moves_aside_and_the_open_one_goes_on(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", largest=10, kept=2)
    with log.open() as file:
        for lines in (b"the first one\n", b"the second one\n", b"the third one\n"):
            file.write(lines)
            file.flush()
            log.rotate()
        file.write(b"now\n")
    assert (tmp_path / "a.log").read_bytes() == b"now\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"the third one\n"
    assert (tmp_path / "a.log.2").read_bytes() == b"the second one\n"
    assert len(list(tmp_path.iterdir())) == 3


def test_last_lines_are_those_since_the_last_start(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log")
    for lines in (b"before\n", b"one\ntwo\nthree\n"):
        with log.open() as file:
            file.write(lines)
    assert log.last_lines(2) == ["two", "three"]
    assert log.last_lines(9) == ["one", "two", "three"]
    assert log.last_lines(9, before_start=True) == ["before", "one", "two", "three"]


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert RotatingLog(tmp_path / "none.log").last_lines(3) == []


def test_a_table_of_triton_is_its_cells(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log")
    table = f"""\
+{"-" * 10}+{"-" * 9}+{"-" * 150}+
| Model    | Version | Status{" " * 143} |
+{"-" * 10}+{"-" * 9}+{"-" * 150}+
| demo     | 1       | UNAVAILABLE: Internal: no such file{" " * 100} |
|          |         |{" " * 150}|
+{"-" * 10}+{"-" * 9}+{"-" * 150}+

error: creating server: Internal - failed to load all models
"""
    with log.open() as file:
        file.write(table.encode())
    assert log.last_lines(9) == [
        "Model  Version  Status",
        "demo  1  UNAVAILABLE: Internal: no such file",
        "",
        "error: creating server: Internal - failed to load all models",
    ]
