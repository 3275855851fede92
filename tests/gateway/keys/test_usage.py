"""The log of what keys have used: sums, rotation, and what is broken in it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enginix.gateway.keys import usage
from enginix.gateway.keys.usage import UsageLog, Used, read_usage, usage_files


def test_a_line_has_what_a_key_used_of_a_model_since_the_line_before(tmp_path: Path) -> None:
    log = UsageLog(tmp_path / "usage", lambda: 0.0)
    log.note("alice", "demo", Used(1, 0, 10, 5))
    log.note("alice", "demo", Used(1, 1, 10, 0))
    log.note("bob", "demo", Used(1, 0, 3, 3))
    log.write()
    log.write()
    path = usage_files(tmp_path / "usage")[-1]
    assert path.read_text().splitlines() == [
        '{"time":"1970-01-01T00:00:00Z","key":"alice","model":"demo","requests":2,"failed":1,'
        '"prompt_tokens":20,"completion_tokens":5}',
        '{"time":"1970-01-01T00:00:00Z","key":"bob","model":"demo","requests":1,"failed":0,'
        '"prompt_tokens":3,"completion_tokens":3}',
    ]
    assert path.stat().st_mode & 0o077 == 0


def test_sums_are_of_all_files_and_processes_since_a_time(tmp_path: Path) -> None:
    for second in (0, 100, 200):
        log = UsageLog(tmp_path, lambda second=second: float(second))  # type: ignore[misc]
        log.note("alice", "demo", Used(1, 0, 10, 5))
        log.write()
    since = datetime.fromtimestamp(100, UTC)
    assert read_usage(tmp_path) == (
        {("alice", "demo"): Used(3, 0, 30, 15)},
        datetime.fromtimestamp(0, UTC),
    )
    assert read_usage(tmp_path, since)[0] == {("alice", "demo"): Used(2, 0, 20, 10)}
    assert read_usage(tmp_path / "none") == ({}, None)


def test_what_was_cut_by_a_full_disk_is_left_out(tmp_path: Path) -> None:
    log = UsageLog(tmp_path)
    log.note("alice", "demo", Used(1, 0, 1, 1))
    log.write()
    with usage_files(tmp_path)[-1].open("ab") as file:
        file.write(b'{"time":"2026-01-01T00:00:00Z","key":"al\n\xff\n[]\n{"time":3}\n\n')
    assert read_usage(tmp_path)[0] == {("alice", "demo"): Used(1, 0, 1, 1)}


def test_the_directory_is_bounded_and_the_oldest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FILE_BYTES", 300)
    log = UsageLog(tmp_path)
    for number in range(50):
        log.note(f"key-{number}", "demo", Used(1))
        log.write()
    files = [path for path in tmp_path.iterdir() if path.name != "lock"]
    assert len(files) == usage.FILES
    assert all(path.stat().st_size <= 300 for path in files)
    found = {key for key, _ in read_usage(tmp_path)[0]}
    assert found == {f"key-{number}" for number in range(50 - len(found), 50)}


def test_what_cannot_be_written_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "usage"
    place.write_text("a file where the directory belongs")
    log = UsageLog(place)
    log.note("alice", "demo", Used(1, 0, 1, 1))
    log.write()
    assert "kept in memory" in caplog.text
    place.unlink()
    log.note("alice", "demo", Used(1, 0, 1, 1))
    log.write()
    assert read_usage(place)[0] == {("alice", "demo"): Used(2, 0, 2, 2)}


async def test_it_is_written_again_and_again_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "INTERVAL_SECONDS", 0.01)
    log = UsageLog(tmp_path)
    async with log.writing():
        log.note("alice", "demo", Used(1))
        async with asyncio.timeout(20):
            while not read_usage(tmp_path)[0]:  # noqa: ASYNC110, another thread writes
                await asyncio.sleep(0.01)
        monkeypatch.setattr(usage, "INTERVAL_SECONDS", 100)
        log.note("alice", "demo", Used(1))
    assert read_usage(tmp_path)[0] == {("alice", "demo"): Used(2)}
