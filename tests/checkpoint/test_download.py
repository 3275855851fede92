"""A download is complete and correct, whatever the network and the hub do."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub import Fault, Repo
from fakes.hub import Hub as FakeHub

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.download import (
    Checked,
    Checking,
    Damaged,
    Event,
    Started,
    fetch_files,
)
from enginix.checkpoint.listing import Hub, list_files
from enginix.checkpoint.load import open_checkpoint
from enginix.checkpoint.transfer import Received, Retrying
from enginix.errors import DownloadError

DEMO = DIRECTORY / "checkpoints/demo"
DEMO_FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}
WEIGHTS = random.Random(1).randbytes(1_000_003)
TINY = {"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"# tiny"}
CHUNK = 100_000


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub({"org/tiny": Repo(dict(TINY)), "org/demo": Repo(dict(DEMO_FILES))}) as hub:
        yield hub


class Fetch:
    """Fetches org/tiny, records the events, and never really waits."""

    def __init__(self, hub: FakeHub, directory: Path) -> None:
        self.hub = hub
        self.directory = directory
        self.events: list[Event] = []
        self.pauses: list[float] = []

    async def __call__(
        self, repo: str = "org/tiny", token: str | None = None, **options: Any
    ) -> None:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        where = Hub(self.hub.url, token)
        listing = list_files(where, repo, "main")
        settings = {"connections": 4, "chunk_size": CHUNK, "pause": pause} | options
        await fetch_files(where, listing, self.directory, self.events.append, **settings)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def received(self) -> int:
        return sum(event.count for event in self.of(Received))


@pytest.fixture
def fetch(hub: FakeHub, tmp_path: Path) -> Fetch:
    return Fetch(hub, tmp_path / "out")


async def test_every_wanted_file_arrives_and_nothing_else(fetch: Fetch) -> None:
    await fetch()
    assert {path.name: path.read_bytes() for path in fetch.directory.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
    }
    assert [path.name for path in fetch.directory.parent.iterdir()] == ["out"]


async def test_a_real_checkpoint_can_be_opened_afterwards(fetch: Fetch) -> None:
    await fetch("org/demo")
    assert len(open_checkpoint(fetch.directory).tensors) == 139


async def test_a_big_file_is_fetched_in_chunks_and_each_byte_once(fetch: Fetch) -> None:
    await fetch()
    ranges = sorted(fetch.hub.ranges_of("model.safetensors"))
    assert ranges == [
        (at, min(at + CHUNK, len(WEIGHTS)) - 1) for at in range(0, len(WEIGHTS), CHUNK)
    ]


async def test_the_reported_bytes_add_up(fetch: Fetch) -> None:
    await fetch()
    start = fetch.of(Started)[0]
    assert (start.listing.size_bytes, start.have) == (len(WEIGHTS) + 2, 0)
    assert fetch.received == len(WEIGHTS) + 2
    assert {event.name for event in fetch.of(Checked)} == {"config.json", "model.safetensors"}


async def test_the_revision_is_the_commit_and_not_the_branch(fetch: Fetch) -> None:
    listing = list_files(Hub(fetch.hub.url), "org/tiny", "main")
    assert listing.revision == fetch.hub.repos["org/tiny"].revision
    assert all(listing.revision in file.url for file in listing.files)


async def test_include_names_other_files(fetch: Fetch) -> None:
    listing = list_files(Hub(fetch.hub.url), "org/tiny", "main", ["*.md", "config.*"])
    assert [file.name for file in listing.files] == ["README.md", "config.json"]


async def test_a_token_is_sent_to_the_hub_but_not_to_its_redirects(fetch: Fetch) -> None:
    await fetch(token="hf_good")
    tokens = {request.host: request.authorization for request in fetch.hub.requests}
    assert tokens == {"hub": "Bearer hf_good", "cdn": None}


async def test_a_dropped_connection_resumes_at_its_last_byte(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", Fault(drop_after=300), Fault(drop_after=7))
    await fetch(chunk_size=len(WEIGHTS))
    last = len(WEIGHTS) - 1
    assert fetch.hub.ranges_of("model.safetensors") == [(0, last), (300, last), (307, last)]
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert fetch.received == len(WEIGHTS) + 2


async def test_dropped_connections_never_end_a_download_that_makes_progress(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", *[Fault(drop_after=5000)] * 40)
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_a_silent_connection_is_closed_and_resumed(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", Fault(silent_after=1000))
    await fetch(chunk_size=len(WEIGHTS), silence=0.2)
    assert fetch.of(Retrying)[0].why == "the server went silent"
    assert fetch.hub.ranges_of("model.safetensors")[1] == (1000, len(WEIGHTS) - 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_a_server_error_is_retried(fetch: Fetch, status: int) -> None:
    fetch.hub.break_next("model.safetensors", Fault(status=status))
    await fetch()
    assert fetch.of(Retrying)[0].why == f"the server answered {status}"


async def test_too_many_requests_wait_as_long_as_the_server_says(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", Fault(status=429, headers={"Retry-After": "17"}))
    await fetch()
    assert fetch.pauses == [17.0]


async def test_a_server_that_never_answers_ends_the_download_and_keeps_what_came(
    fetch: Fetch,
) -> None:
    fetch.hub.break_next("model.safetensors", Fault(drop_after=400))
    fetch.hub.break_always("model.safetensors", Fault(status=503))
    with pytest.raises(DownloadError, match=r"answered 503, 11 times in a row; run the same comm"):
        await fetch(chunk_size=len(WEIGHTS))
    assert not fetch.directory.exists()
    assert max(fetch.pauses) == 30.0

    fetch.hub.requests.clear()
    fetch.hub.heal()
    await fetch(chunk_size=len(WEIGHTS))
    assert fetch.hub.ranges_of("model.safetensors") == [(400, len(WEIGHTS) - 1)]


async def test_an_ignored_range_is_read_from_the_beginning(fetch: Fetch) -> None:
    fetch.hub.break_always("model.safetensors", Fault(ignore_range=True))
    await fetch()
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert fetch.received == len(WEIGHTS) + 2


async def test_an_ignored_range_of_a_resumed_file_skips_what_is_there(fetch: Fetch) -> None:
    drops = Fault(drop_after=600, ignore_range=True), Fault(ignore_range=True)
    fetch.hub.break_next("model.safetensors", *drops)
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert fetch.received == len(WEIGHTS) + 2


async def test_a_range_that_was_not_asked_for_is_not_kept(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", Fault(wrong_range=True))
    await fetch()
    assert "requested bytes from" in fetch.of(Retrying)[0].why
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_only_the_damaged_file_is_fetched_again(fetch: Fetch) -> None:
    fetch.hub.break_next("model.safetensors", Fault(corrupt=True))
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert [event.name for event in fetch.of(Damaged)] == ["model.safetensors"]
    assert len(fetch.hub.ranges_of("config.json")) == 1


async def test_a_small_file_is_checked_by_its_git_hash(fetch: Fetch) -> None:
    fetch.hub.break_next("config.json", Fault(corrupt=True))
    await fetch()
    assert "its git hash is" in fetch.of(Damaged)[0].why


async def test_a_file_that_is_always_damaged_is_given_up(fetch: Fetch) -> None:
    fetch.hub.break_always("model.safetensors", Fault(corrupt=True))
    with pytest.raises(DownloadError, match=r"model\.safetensors was damaged 3 times: its sha256"):
        await fetch(chunk_size=len(WEIGHTS))
    assert not fetch.directory.exists()


async def test_a_second_fetch_checks_everything_and_transfers_nothing(fetch: Fetch) -> None:
    await fetch()
    fetch.hub.requests.clear()
    fetch.events.clear()
    await fetch()
    assert fetch.hub.ranges_of("model.safetensors") == []
    assert {event.name for event in fetch.of(Checking)} == {"config.json", "model.safetensors"}
    assert sorted(path.name for path in fetch.directory.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


async def test_only_the_file_damaged_on_disk_is_repaired(fetch: Fetch) -> None:
    await fetch()
    (fetch.directory / "config.json").write_bytes(b"[]")
    fetch.hub.requests.clear()
    await fetch()
    assert (fetch.directory / "config.json").read_bytes() == b"{}"
    assert fetch.hub.ranges_of("model.safetensors") == []


async def interrupt(fetch: Fetch, after: int) -> None:
    """Leave the first bytes of a download on the disk."""
    fetch.hub.break_next("model.safetensors", Fault(drop_after=after))
    fetch.hub.break_always("model.safetensors", Fault(status=404))
    with pytest.raises(DownloadError, match="the server answered 404"):
        await fetch(chunk_size=len(WEIGHTS))
    fetch.hub.heal()


async def test_a_partial_file_of_another_revision_is_not_resumed(fetch: Fetch) -> None:
    await interrupt(fetch, after=500)
    other = bytes(len(WEIGHTS))
    fetch.hub.repos["org/tiny"].files["model.safetensors"] = other
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == other


async def test_files_of_another_revision_are_removed(fetch: Fetch) -> None:
    files = fetch.hub.repos["org/tiny"].files
    files["tokenizer.json"] = b"old"
    fetch.hub.break_next("model.safetensors", Fault(drop_after=500))
    fetch.hub.break_always("model.safetensors", Fault(status=404))
    with pytest.raises(DownloadError):
        await fetch(chunk_size=len(WEIGHTS))
    (fetch.directory.with_name("out.partial") / "tokenizer.json").write_bytes(b"old")
    fetch.hub.heal()
    del files["tokenizer.json"]
    await fetch()
    assert sorted(path.name for path in fetch.directory.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("harm", ["journal", "shorter", "garbage", "gone"])
async def test_a_damaged_partial_file_is_restarted(fetch: Fetch, harm: str) -> None:
    await interrupt(fetch, after=500)
    part = fetch.directory.with_name("out.partial") / ".incomplete" / "model.safetensors"
    journal = part.with_name("model.safetensors.journal")
    match harm:
        case "journal":
            journal.write_bytes(journal.read_bytes()[:-8] + b"\xff" * 8)
        case "shorter":
            part.write_bytes(b"short")
        case "garbage":
            journal.write_bytes(b"garbage")
        case "gone":
            part.unlink()
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_wrong_bytes_in_a_partial_file_are_found_by_the_hash(fetch: Fetch) -> None:
    await interrupt(fetch, after=500)
    part = fetch.directory.with_name("out.partial") / ".incomplete" / "model.safetensors"
    part.write_bytes(bytes(len(WEIGHTS)))
    await fetch(chunk_size=len(WEIGHTS))
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert len(fetch.of(Damaged)) == 1


async def test_too_little_disk_space_is_reported_before_the_first_byte(fetch: Fetch) -> None:
    with pytest.raises(DownloadError, match=r"GB are still to come and .* has 0\.0 GB free"):
        await fetch(free_bytes=lambda _: 1_000_004)
    assert fetch.hub.ranges_of("model.safetensors") == []
    assert list(fetch.directory.parent.iterdir()) == []


async def test_disk_space_is_needed_only_for_what_is_missing(fetch: Fetch) -> None:
    await interrupt(fetch, after=900_000)
    await fetch(chunk_size=len(WEIGHTS), free_bytes=lambda _: 100_005)
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS


async def test_an_unwritable_directory_is_reported(fetch: Fetch) -> None:
    fetch.directory.parent.joinpath("file").write_text("")
    fetch.directory = fetch.directory.parent / "file" / "out"
    with pytest.raises(DownloadError, match=r"cannot write .*Not a directory; name another"):
        await fetch()


async def test_two_fetches_into_one_directory_do_not_mix(fetch: Fetch, tmp_path: Path) -> None:
    other = Fetch(fetch.hub, fetch.directory)

    async def fetch_the_same(_: float) -> None:
        with pytest.raises(DownloadError, match="another enginix is fetching into"):
            await other()

    fetch.hub.break_next("model.safetensors", Fault(status=503))
    await fetch(pause=fetch_the_same)
    assert other.events == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repo": "org/none"}, "there is no model repository org/none at http"),
        ({"repo": "org/private"}, "or it is private; check the name, and pass a token in HF_TOKEN"),
        ({"repo": "org/none", "token": "hf_good"}, "or this HF_TOKEN has no access"),
        ({"revision": "v9"}, "org/tiny has no revision 'v9'"),
        ({"token": "hf_bad"}, r"refused the token in HF_TOKEN \(401\)"),
        ({"repo": "a/b/c"}, "'a/b/c' is not a repository name; expected one such as nvidia/"),
        ({"repo": "org/empty"}, r"holds none of .*model\*\.safetensors at main; name its files"),
        ({"repo": "org/escape"}, r"lists '\.\./model\.safetensors', which is not a file"),
    ],
)
def test_what_cannot_be_listed_is_explained(
    hub: FakeHub, change: dict[str, Any], message: str
) -> None:
    hub.repos["org/private"] = Repo(dict(TINY), private=True)
    hub.repos["org/empty"] = Repo({"README.md": b""})
    hub.repos["org/escape"] = Repo({"../model.safetensors": b""})
    asked = {"repo": "org/tiny", "revision": "main", "token": None} | change
    include = ["*model.safetensors"] if asked["repo"] == "org/escape" else []
    with pytest.raises(DownloadError, match=message):
        list_files(Hub(hub.url, asked["token"]), asked["repo"], asked["revision"], include)


def test_an_invalid_commit_from_the_hub_is_refused(hub: FakeHub) -> None:
    hub.repos["org/tiny"].revision = "../../elsewhere"
    with pytest.raises(DownloadError, match=r"to '\.\./\.\./elsewhere', expected a commit"):
        list_files(Hub(hub.url), "org/tiny", "main")


def test_a_private_repository_is_listed_with_the_token(hub: FakeHub) -> None:
    hub.repos["org/private"] = Repo(dict(TINY), private=True)
    assert len(list_files(Hub(hub.url, "hf_good"), "org/private", "main").files) == 2


def test_a_hub_in_trouble_is_named(hub: FakeHub) -> None:
    hub.down = Fault(status=500)
    with pytest.raises(DownloadError, match="answered 500"):
        list_files(Hub(hub.url), "org/tiny", "main")


def test_a_server_that_is_no_hub_is_named(hub: FakeHub) -> None:
    hub.down = Fault(status=200)
    with pytest.raises(DownloadError, match="does not speak the hub's API"):
        list_files(Hub(hub.url), "org/tiny", "main")


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DownloadError, match=r"cannot be reached .* check the network"):
            list_files(Hub(url), "org/tiny", "main")


async def test_a_gated_repository_says_what_to_do(fetch: Fetch) -> None:
    fetch.hub.repos["org/tiny"].gated = True
    with pytest.raises(DownloadError, match=r"\(403\): the repository is gated .* in HF_TOKEN"):
        await fetch()
    assert list(fetch.directory.parent.iterdir()) == []
    await fetch(token="hf_good")
    assert fetch.directory.is_dir()


async def test_an_empty_file_arrives(fetch: Fetch) -> None:
    fetch.hub.repos["org/tiny"].files["merges.txt"] = b""
    await fetch()
    assert (fetch.directory / "merges.txt").read_bytes() == b""


async def test_files_in_folders_arrive_in_folders(hub: FakeHub, tmp_path: Path) -> None:
    hub.repos["org/tiny"].files["a b/c?.md"] = b"deep"
    listing = list_files(Hub(hub.url), "org/tiny", "main", ["*.md"])
    await fetch_files(Hub(hub.url), listing, tmp_path / "out", lambda _: None)
    assert (tmp_path / "out/a b/c?.md").read_bytes() == b"deep"


@pytest.mark.parametrize("seed", range(5))
async def test_any_mixture_of_faults_ends_in_the_right_bytes(fetch: Fetch, seed: int) -> None:
    chance = random.Random(seed)
    choices: list[Callable[[], Fault]] = [
        lambda: Fault(drop_after=chance.randrange(CHUNK)),
        lambda: Fault(status=chance.choice([429, 500, 503])),
        lambda: Fault(wrong_range=True),
        lambda: Fault(),
    ]
    faults = [chance.choice(choices)() for _ in range(60)]
    fetch.hub.break_next("model.safetensors", *faults)
    await fetch()
    assert (fetch.directory / "model.safetensors").read_bytes() == WEIGHTS
    assert fetch.received == len(WEIGHTS) + 2
