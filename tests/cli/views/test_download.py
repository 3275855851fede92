"""The log of a download is short, and shows progress, rate and time left."""

from __future__ import annotations

import io

from fakes.clock import Clock

from enginix.checkpoint.download import Damaged, Started
from enginix.checkpoint.listing import Listing
from enginix.checkpoint.transfer import Received, RemoteFile, Retrying
from enginix.cli.views.download import LogLines

FILE = RemoteFile("model.safetensors", 2_000_000_000, "http://hub/file")
LISTING = Listing("org/big", "0123456789abcdef", (FILE,))


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_progress_is_logged_at_most_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogLines(stream, clock)
    log(Started(LISTING, have=0))
    for _ in range(100):
        clock.now += 0.25
        log(Received(FILE.name, 10_000_000))
    assert lines_of(stream) == [
        "fetching org/big at 0123456789ab: 1 files, 2.0 GB",
        " 20 %  400.0 MB of 2.0 GB, 40.0 MB/s, 40 s left",
        " 40 %  800.0 MB of 2.0 GB, 40.0 MB/s, 30 s left",
    ]


def test_bytes_already_present_do_not_count_towards_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogLines(stream, clock)
    log(Started(LISTING, have=1_000_000_000))
    clock.now += 10
    log(Received(FILE.name, 100_000_000))
    assert lines_of(stream)[1] == " 55 %  1.1 GB of 2.0 GB, 10.0 MB/s, 90 s left"


def test_a_damaged_file_is_always_logged_and_subtracted() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogLines(stream, clock)
    log(Started(LISTING, have=0))
    log(Received(FILE.name, FILE.size))
    log(Damaged(FILE.name, "its sha256 is a, expected b", FILE.size))
    clock.now += 10
    log(Received(FILE.name, 20_000_000))
    assert lines_of(stream)[1:] == [
        "model.safetensors: its sha256 is a, expected b; fetching it again",
        "  1 %  20.0 MB of 2.0 GB, 2.0 MB/s, 990 s left",
    ]


def test_a_rate_limit_is_always_logged() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogLines(stream, clock)
    log(Started(LISTING, have=0))
    log(Retrying(FILE.name, "the hub's rate limit for api is used up (429)", 21, limited=True))
    assert lines_of(stream)[1] == (
        "model.safetensors: the hub's rate limit for api is used up (429); retrying in 21 s"
    )


def test_many_retries_are_one_line() -> None:
    clock, stream = Clock(), io.StringIO()
    log = LogLines(stream, clock)
    log(Started(LISTING, have=0))
    for _ in range(50):
        clock.now += 0.3
        log(Retrying(FILE.name, "the connection broke", 0.5))
    assert len(lines_of(stream)) == 2
