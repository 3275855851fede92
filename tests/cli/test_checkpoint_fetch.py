"""`enginix checkpoint fetch` and `lock`, as the real command against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.hub import Fault, Hub, Repo

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.origin import read_origin

DEMO = DIRECTORY / "checkpoints/demo"
FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}
BIG = random.Random(2).randbytes(30_000_000)
ENGINIX = [sys.executable, "-m", "enginix", "checkpoint"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    repos = {
        "org/demo": Repo({**FILES, "README.md": b"# demo"}),
        "org/big": Repo({"model.safetensors": BIG, "config.json": b"{}"}),
    }
    with Hub(repos) as hub:
        yield hub


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_good",
        "HF_HOME": str(tmp_path / "hf"),
        "ENGINIX_HOME": str(tmp_path / "home"),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENGINIX, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_repository_is_fetched_and_its_directory_printed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(environment, "fetch", "org/demo")
    assert (done.returncode, done.stderr.count("\n")) == (0, 2)
    directory = Path(done.stdout.strip())
    assert directory == tmp_path / "home/checkpoints/org--demo@0123456789ab"
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    del found[".enginix-source.json"]
    assert found == FILES
    assert "fetching org/demo at 0123456789ab: 11 files, 2.6 MB" in done.stderr
    assert run(environment, "inspect", str(directory)).returncode == 0


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_branch_is_reported_as_unpinned_with_its_commit(
    environment: dict[str, str],
) -> None:
    assert run(environment, "fetch", "org/demo").stderr.splitlines()[0] == (
        f"org/demo is not pinned: main of org/demo is commit {COMMIT} now; "
        f"pin it by its name: org/demo@{COMMIT}"
    )


def test_a_commit_is_not_reported_as_unpinned(environment: dict[str, str]) -> None:
    assert "not pinned" not in run(environment, "fetch", "org/demo", "--revision", COMMIT).stderr


def test_a_fetched_directory_records_its_commit(environment: dict[str, str]) -> None:
    directory = Path(run(environment, "fetch", "org/demo").stdout.strip())
    origin = read_origin(directory)
    assert origin
    assert (origin.repo, origin.revision) == ("org/demo", COMMIT)
    assert origin.files == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }


def test_files_fetched_one_by_one_are_all_recorded(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for pattern in ("config.json", "tokenizer.json"):
        run(environment, "fetch", "org/demo", "--include", pattern, "--out", str(tmp_path / "out"))
    origin = read_origin(tmp_path / "out")
    assert origin
    assert sorted(origin.files) == ["config.json", "tokenizer.json"]


def test_files_only_adds_nothing_to_the_repositorys_files(
    environment: dict[str, str], tmp_path: Path
) -> None:
    run(environment, "fetch", "org/demo", "--files-only", "--out", str(tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == FILES


def test_a_damaged_record_of_the_commit_is_rewritten(
    environment: dict[str, str], tmp_path: Path
) -> None:
    run(environment, "fetch", "org/demo", "--out", str(tmp_path / "out"))
    (tmp_path / "out/.enginix-source.json").write_text("{")
    assert run(environment, "fetch", "org/demo", "--out", str(tmp_path / "out")).returncode == 0
    origin = read_origin(tmp_path / "out")
    assert origin
    assert origin.revision == COMMIT


def test_a_limited_listing_says_how_long_it_waits(hub: Hub, environment: dict[str, str]) -> None:
    hub.down_next = [Fault(status=429, headers={"RateLimit": '"api";r=0;t=0'})]
    done = run(environment, "fetch", "org/demo")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "the listing of org/demo: the hub's rate limit for api is used up (429); retrying in 1 s"
    )


def test_without_a_network_it_is_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}, "fetch", "org/demo")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot be reached" in done.stderr
    assert "or pass --offline to use what is on this machine" in done.stderr
    assert not (tmp_path / "home").exists()


def test_kill_9_in_the_middle_costs_no_byte(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hub.break_next("model.safetensors", Fault(silent_after=20_000_000))
    command = [*ENGINIX, "fetch", "org/big", "--out", str(out)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as child:
        assert hub.fell_silent.wait(30)
        journal = tmp_path / "out.partial/.incomplete/model.safetensors.journal"
        while count_in(journal) < 20_000_000:
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    assert not out.exists()

    hub.requests.clear()
    done = run(environment, "fetch", "org/big", "--out", str(out))
    assert done.returncode == 0
    assert hub.ranges_of("model.safetensors") == [(20_000_000, len(BIG) - 1)]
    assert (out / "model.safetensors").read_bytes() == BIG
    assert "20.0 MB of them already here" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]


def count_in(journal: Path) -> int:
    """Bytes that the journal records for its only chunk; 0 before the journal exists."""
    content = journal.read_bytes() if journal.exists() else b""
    return int.from_bytes(content[32:40], "little")


def test_control_c_says_how_to_resume(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    hub.break_next("model.safetensors", Fault(silent_after=1000))
    command = [*ENGINIX, "fetch", "org/big", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert hub.fell_silent.wait(30)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "the same command goes on there" in errors
    assert "Traceback" not in errors


def test_a_terminal_gets_a_bar_with_rate_and_time(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [*ENGINIX, "fetch", "org/big", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment | {"TERM": "xterm"}, stderr=theirs, check=False)
    os.close(theirs)
    shown = read_all(ours)
    assert done.returncode == 0
    assert "org/big" in shown
    assert "30.0/30.0 MB" in shown


def read_all(terminal: int) -> str:
    """Everything written to a terminal whose other end is closed; Linux reports EIO at the end."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            os.close(terminal)
            return shown.decode()


def test_offline_uses_what_was_fetched(hub: Hub, environment: dict[str, str]) -> None:
    first = run(environment, "fetch", "org/demo").stdout
    hub.requests.clear()
    again = run(environment, "fetch", "org/demo", "--offline")
    assert (again.returncode, again.stdout) == (0, first)
    assert hub.requests == []


def test_offline_without_the_files_says_so(environment: dict[str, str]) -> None:
    done = run(environment, "fetch", "org/demo", "--offline")
    assert done.returncode == 1
    assert "org/demo is not on this machine, and --offline forbids" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["org/none"], 1, "there is no model repository org/none"),
        (["org/demo", "--revision", "v9"], 1, "org/demo has no revision 'v9'"),
        (["demo"], 2, "demo is shipped with enginix"),
        (["dmeo"], 1, "no model named 'dmeo' in the catalogue; did you mean demo?"),
        (["org/demo", "--include", "*.gguf"], 1, "holds none of *.gguf at main"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    done = run(environment, "fetch", *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_neither_token_nor_signed_addresses_are_ever_shown(
    hub: Hub, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "enginix", "--verbose", "checkpoint", "fetch", "org/demo"]
    for status in (None, 403, 500):
        hub.heal()
        hub.break_next("model.safetensors", Fault(status=status))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "hf_good" not in done.stderr + done.stdout
        assert "signature" not in done.stderr + done.stdout


def test_inspect_of_a_fetched_catalogue_model_finds_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(environment, "inspect", "demo", "--json")
    assert json.loads(done.stdout)["usable"] is True
