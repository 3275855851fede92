"""`enginix checkpoint lock` against a hub on this machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.hub import Fault, Hub, Repo

from enginix.catalog.load import DIRECTORY, SourceSpec, load_model
from enginix.checkpoint.nar import nar_hash
from enginix.cli.main import main

DEMO = DIRECTORY / "checkpoints/demo"
FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "89abcdef0123456789abcdef0123456789abcdef"
SMALL = {"config.json": b"{}", "model.safetensors": b"w" * 999, "deep/code.py": b"pass"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    repos = {
        "org/demo": Repo({**FILES, "README.md": b"# demo"}),
        "org/small": Repo(SMALL),
        "org/gated": Repo(SMALL, gated=True),
    }
    with Hub(repos, token="hf_other") as hub:
        yield hub


@pytest.fixture(autouse=True)
def environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a token, so that the gated repository is refused.
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """tiny, small, gated, missing, and the shipped demo."""
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    text = (DIRECTORY / "demo.toml").read_text()
    shutil.copy(DIRECTORY / "demo.toml", catalog)
    for name, repo in (
        ("tiny", "org/demo"),
        ("small", "org/small"),
        ("gated", "org/gated"),
        ("missing", "org/missing"),
    ):
        changed = text.replace('directory = "checkpoints/demo"', f'repo = "{repo}"  # at the hub')
        (catalog / f"{name}.toml").write_text(changed.replace('aliases = ["tiny-qwen3"]\n', ""))
    return catalog


@pytest.fixture
def expected(tmp_path: Path) -> str:
    """The Nix hash of org/small and org/gated."""
    for name, content in SMALL.items():
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return nar_hash(tmp_path / "small")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Lock:
    """lock("--all") runs `enginix checkpoint lock --all` on the catalogue of the test."""

    def __init__(self, catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.catalog, self._capsys = catalog, capsys

    def __call__(self, *arguments: str) -> Done:
        status = main(["checkpoint", "lock", *arguments, "--catalog", str(self.catalog)])
        output = self._capsys.readouterr()
        return Done(status, output.out, output.err)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        enginix = [sys.executable, "-m", "enginix", "checkpoint", "lock"]
        return subprocess.Popen([*enginix, *arguments, "--catalog", str(self.catalog)])

    def source(self, name: str) -> SourceSpec:
        return load_model(self.catalog / f"{name}.toml").source

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.catalog.iterdir()}


@pytest.fixture
def lock(catalog: Path, capsys: pytest.CaptureFixture[str]) -> Lock:
    return Lock(catalog, capsys)


def test_lock_writes_revision_and_hash_into_the_catalogue(lock: Lock) -> None:
    done = lock("tiny")
    assert done.returncode == 0, done.stderr
    source = lock.source("tiny")
    assert (source.revision, source.nar_hash) == (COMMIT, nar_hash(DEMO))
    assert 'repo = "org/demo"  # at the hub\n' in lock.texts()["tiny.toml"]
    assert done.stdout == f"tiny: revision {COMMIT}, nar_hash {nar_hash(DEMO)}\n"


def test_lock_refuses_a_directory_with_something_else_in_it(lock: Lock, tmp_path: Path) -> None:
    lock("tiny")
    before = lock.texts()
    (tmp_path / "home/checkpoints/org--demo@0123456789ab/notes.txt").write_text("mine")
    done = lock("tiny")
    assert done.returncode == 1
    assert "holds notes.txt, which is not among the files of org/demo" in done.stderr
    assert lock.texts() == before


def test_lock_of_a_shipped_model_is_a_mistake(lock: Lock) -> None:
    done = lock("demo")
    assert done.returncode == 2
    assert "has no revision to lock" in done.stderr


@pytest.mark.parametrize("keep", [[], ["--no-keep"]])
def test_all_locks_what_it_can_and_explains_the_rest(
    lock: Lock, expected: str, keep: list[str]
) -> None:
    before = lock.texts()
    done = lock("--all", *keep)
    assert done.returncode == 1
    assert (lock.source("tiny").revision, lock.source("tiny").nar_hash) == (COMMIT, nar_hash(DEMO))
    assert lock.source("small").nar_hash == expected
    for name in ("demo.toml", "gated.toml", "missing.toml"):
        assert lock.texts()[name] == before[name]
    assert "gated is not locked: " in done.stderr
    assert "accept its terms on its page, then pass a token" in done.stderr
    assert "missing is not locked: there is no model repository org/missing" in done.stderr
    assert "2 of 4 entries not locked: gated, missing" in done.stderr
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == ["small", "tiny"]


def test_a_second_run_does_only_what_is_missing(lock: Lock, hub: Hub, expected: str) -> None:
    lock("--all")
    hub.repos["org/gated"].gated = False
    hub.requests.clear()
    done = lock("--all")
    assert done.returncode == 1
    assert lock.source("gated").nar_hash == expected
    assert not [request for request in hub.requests if "demo" in request.path]
    assert f"tiny: locked already, at {COMMIT}" in done.stdout


def test_revisions_alone_are_one_request_each(lock: Lock, hub: Hub, tmp_path: Path) -> None:
    done = lock("--all", "--revisions")
    assert done.returncode == 1
    assert [lock.source(name).revision for name in ("tiny", "small", "gated")] == [COMMIT] * 3
    assert lock.source("tiny").nar_hash is None
    assert len(hub.requests) == 4
    assert not (tmp_path / "home").exists()


def test_the_hash_can_be_locked_after_the_revision(lock: Lock, hub: Hub) -> None:
    lock("tiny", "--revisions")
    hub.repos["org/demo"].revision = LATER
    assert lock("tiny").returncode == 1  # The hub no longer has the pinned commit.
    hub.repos["org/demo"].revision = COMMIT
    assert lock("tiny").returncode == 0
    assert lock.source("tiny") == SourceSpec("org/demo", COMMIT, nar_hash(DEMO))


def test_a_hash_does_not_outlive_its_revision(lock: Lock, hub: Hub) -> None:
    lock("small")
    hub.repos["org/small"].revision = LATER
    done = lock("small", "--revisions", "--update")
    assert lock.source("small") == SourceSpec("org/small", LATER)
    assert f"revision {LATER} (was {COMMIT}), nar_hash removed" in done.stdout


def test_update_moves_only_what_has_moved(lock: Lock, hub: Hub, expected: str) -> None:
    lock("--all")
    hub.repos["org/demo"].revision = LATER
    hub.requests.clear()
    done = lock("--all", "--update")
    assert lock.source("tiny").revision == LATER
    assert lock.source("small") == SourceSpec("org/small", COMMIT, expected)
    assert f"small: unchanged, at {COMMIT}" in done.stdout
    assert not [request for request in hub.requests if "org/small/resolve" in request.path]


def test_without_keep_nothing_is_left_on_the_disk(
    lock: Lock, hub: Hub, tmp_path: Path, expected: str
) -> None:
    hub.break_next("model.safetensors", Fault(drop_after=100), Fault(corrupt=True))
    assert lock("small", "--no-keep").returncode == 0
    assert lock.source("small").nar_hash == expected
    assert list((tmp_path / "home/checkpoints").iterdir()) == []


def test_without_a_network_it_is_one_sentence_and_nothing_changes(
    lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lock.texts()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = lock("--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr
    assert "--offline" not in done.stderr
    assert lock.texts() == before
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("keep", [[], ["--no-keep"]])
def test_kill_9_leaves_complete_entries_and_the_next_run_finishes(
    lock: Lock, hub: Hub, tmp_path: Path, expected: str, keep: list[str]
) -> None:
    before = lock.texts()
    hub.break_next("model.safetensors", Fault(silent_after=100))
    with lock.start("small", *keep) as child:
        assert hub.fell_silent.wait(30)
        child.send_signal(signal.SIGKILL)
    assert lock.texts() == before
    assert lock("small", *keep).returncode == 0
    assert lock.source("small").nar_hash == expected
    left = [path.name for path in (tmp_path / "home/checkpoints").iterdir()]
    assert left == ([] if keep else ["org--small@0123456789ab"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected the NAME of a catalogue model or --all"),
        (["tiny", "--all"], "expected the NAME of a catalogue model or --all"),
        (["--all", "--revision", COMMIT], "--revision is of one repository"),
        (["tiny", "--revision", COMMIT, "--update"], "--update takes main's commit"),
        (["tiny", "--revisions", "--no-keep"], "--revisions downloads nothing"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    lock: Lock, hub: Hub, arguments: list[str], message: str
) -> None:
    done = lock(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert hub.requests == []
