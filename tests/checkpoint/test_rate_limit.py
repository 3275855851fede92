"""A rate limit is waited out, for at least as long as the hub says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from fakes.hub import Fault, Repo
from fakes.hub import Hub as FakeHub
from hypothesis import given
from hypothesis import strategies as st

from enginix.checkpoint.download import Event, fetch_files
from enginix.checkpoint.listing import Hub, list_files
from enginix.checkpoint.rate_limit import DEFAULT_WAIT, MAX_WAIT, SharedWait, read_limit
from enginix.checkpoint.transfer import Retrying
from enginix.errors import DownloadError

WEIGHTS = random.Random(1).randbytes(100_000)
RESOLVERS = Fault(status=429, headers={"RateLimit": '"resolvers";r=0;t=20'})


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub({"org/tiny": Repo({"config.json": b"{}", "model.safetensors": WEIGHTS})}) as hub:
        yield hub


@pytest.mark.parametrize(
    ("headers", "names", "pause"),
    [
        ({"RateLimit": '"resolvers";r=0;t=20'}, ("resolvers",), 21),
        ({"RateLimit": '"api"; r = 0 ; t = 55'}, ("api",), 56),
        ({"RateLimit": '"api";r=0;t=9, "pages";r=7;t=300'}, ("api",), 10),
        ({"RateLimit": '"api";r=0;t=9, "resolvers";r=0;t=44;pk=:x:'}, ("api", "resolvers"), 45),
        ({"RateLimit": '"api";r=0;t=9', "Retry-After": "60"}, ("api",), 60),
        ({"RateLimit": '"api";r=0;t=99999'}, ("api",), MAX_WAIT + 1),
        ({"Retry-After": "17"}, (), 17),
        ({"Retry-After": "99999"}, (), MAX_WAIT),
        ({"RateLimit": '"api";r=3;t=9'}, (), DEFAULT_WAIT),
        ({"RateLimit": "nonsense;", "Retry-After": "soon"}, (), DEFAULT_WAIT),
        ({}, (), DEFAULT_WAIT),
    ],
)
def test_the_pause_is_what_the_hub_states(
    headers: dict[str, str], names: tuple[str, ...], pause: float
) -> None:
    found = read_limit(headers)
    assert (found.names, found.pause) == (names, pause)


def test_a_date_in_retry_after_is_a_pause_until_then() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < read_limit({"Retry-After": then}).pause <= 100


@given(st.text(), st.text())
def test_no_header_breaks_the_reader(limit: str, after: str) -> None:
    assert 0 <= read_limit({"RateLimit": limit, "Retry-After": after}).pause <= MAX_WAIT + 1


class Fetching:
    """Fetches eight chunks over four connections, and never really waits."""

    def __init__(self, hub: FakeHub, directory: Path) -> None:
        self.hub, self.directory = hub, directory
        self.pauses: list[float] = []
        self.events: list[Event] = []

    async def __call__(self) -> None:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        listing = list_files(Hub(self.hub.url), "org/tiny", "main")
        await fetch_files(
            Hub(self.hub.url),
            listing,
            self.directory,
            self.events.append,
            connections=4,
            chunk_size=len(WEIGHTS) // 8,
            pause=pause,
        )


@pytest.fixture
def fetching(hub: FakeHub, tmp_path: Path) -> Fetching:
    return Fetching(hub, tmp_path / "out")


async def test_a_file_waits_until_its_limit_has_ended(fetching: Fetching) -> None:
    fetching.hub.break_next("model.safetensors", RESOLVERS)
    await fetching()
    assert fetching.pauses == [21.0]
    assert (fetching.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_a_limit_that_hits_all_connections_is_waited_for_once(fetching: Fetching) -> None:
    fetching.hub.break_next("model.safetensors", *[RESOLVERS] * 4)
    await fetching()
    assert len(fetching.hub.ranges_of("model.safetensors")) <= 8 + 4
    retries = [event for event in fetching.events if isinstance(event, Retrying)]
    assert len(retries) == len(fetching.pauses)
    assert retries[0].why == "the hub's rate limit for resolvers is used up (429)"


async def test_concurrent_waiters_share_one_wait() -> None:
    started, over = asyncio.Event(), asyncio.Event()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        started.set()
        await over.wait()

    shared = SharedWait(pause)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(shared.wait(20.0)) for _ in range(4)]
        waiting.append(tasks.create_task(shared.passed()))
        await started.wait()
        assert not any(task.done() for task in waiting)
        over.set()
    assert pauses == [20.0]
    assert not shared.is_on


async def test_a_limit_in_every_window_is_not_the_end(fetching: Fetching) -> None:
    """Nine windows in which other clients use up the limit first."""
    for name in ("model.safetensors", "config.json"):
        fetching.hub.break_next(name, *[RESOLVERS] * 9)
    await fetching()
    assert (fetching.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_a_hub_that_never_admits_a_request_fails_after_its_windows(
    fetching: Fetching,
) -> None:
    fetching.hub.break_always("config.json", Fault(status=429))
    with pytest.raises(DownloadError, match=r"rate limit is used up \(429\), 11 times in a row"):
        await fetching()
    assert sum(fetching.pauses) >= MAX_WAIT


def test_a_listing_waits_too_and_says_so(hub: FakeHub) -> None:
    hub.down_next = [Fault(status=429, headers={"RateLimit": '"api";r=0;t=55'})] * 2
    retries: list[Retrying] = []
    pauses: list[float] = []
    found = list_files(Hub(hub.url), "org/tiny", "main", report=retries.append, pause=pauses.append)
    assert len(found.files) == 2
    assert pauses == [56.0, 56.0]
    assert retries[0] == Retrying(
        "the listing of org/tiny", "the hub's rate limit for api is used up (429)", 56.0, True
    )


def test_a_listing_that_is_never_admitted_fails(hub: FakeHub) -> None:
    hub.down = RESOLVERS
    with pytest.raises(DownloadError, match="answered 429 about org/tiny; try again later"):
        list_files(Hub(hub.url), "org/tiny", "main", pause=lambda _: None)
