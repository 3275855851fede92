"""Worker processes of one gateway answer each other's questions, whatever becomes of one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from enginix.gateway.models.peers import Peers, Report, Traffic, traffic_of


class Worker(Peers):
    """A worker whose socket is not named after this process, which has all of them here."""

    def __init__(self, path: Path, report: Callable[[str | None], Report]) -> None:
        super().__init__(str(path.parent), report)
        self._path = path

    @property
    def _socket(self) -> Path:
        return self._path


def worker(directory: Path, name: str, running: int) -> Worker:
    def report(cancel: str | None) -> Report:
        traffic = Traffic(running, 1, 10.0 * running, [running / 10])
        return Report([{"id": name}], {"m": traffic}, int(cancel == name))

    return Worker(directory / f"peer-{name}", report)


async def test_every_worker_knows_the_load_and_the_requests_of_all(tmp_path: Path) -> None:
    one, two, three = (worker(tmp_path, name, number) for number, name in enumerate("abc", 1))
    async with one.answering(), two.answering(), three.answering():
        reports = await two.reports()
        cancelled = [each.cancelled for each in await two.reports(cancel="c")]
    assert sorted(row["id"] for each in reports for row in each.requests) == ["a", "b", "c"]
    assert reports[0].requests == [{"id": "b"}]
    everywhere = traffic_of(reports, "m")
    assert (everywhere.running, everywhere.waiting) == (6, 3)
    assert (everywhere.tokens_per_second, everywhere.first_token_seconds) == (60.0, 0.2)
    assert sum(cancelled) == 1
    assert traffic_of(reports, "unknown") == Traffic()
    assert not list(tmp_path.iterdir())


async def test_a_worker_that_died_or_is_frozen_is_left_out(tmp_path: Path) -> None:
    one = worker(tmp_path, "a", 1)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as frozen:
        dead.bind(str(tmp_path / "peer-dead"))
        frozen.bind(str(tmp_path / "peer-frozen"))
        # Connections are accepted by the kernel, and never answered.
        frozen.listen()
        async with one.answering():
            reports = await one.reports()
    assert [each.requests for each in reports] == [[{"id": "a"}]]


async def test_a_directory_too_long_for_a_socket_is_no_reason_not_to_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    one = worker(directory, "a", 1)
    async with one.answering():
        assert len(await one.reports()) == 1
    assert "of one worker at a time" in caplog.text


async def test_a_gateway_of_one_process_answers_for_itself() -> None:
    report = Report([], {"m": Traffic(running=2)})
    peers = Peers(None, lambda cancel: report)
    async with peers.answering():
        assert await peers.reports() == [report]
