"""A file of named keys: what it may say, what its errors say, and how its changes are taken up."""

from __future__ import annotations

import logging
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enginix.errors import UsageError
from enginix.gateway.keys.key import Key, digest_of
from enginix.gateway.keys.key_file import MAX_KEYS, KeyFile, parse_keys, read_key_file

ONE, TWO = digest_of("sk-one"), digest_of("sk-two")
WHERE = Path("keys.toml")
# Of an access list's entries that name nobody.
NOBODY = 0xFFFFFFFF


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def table(name: str, digest: bytes = ONE, more: str = "") -> str:
    return f'[keys.{name}]\nhash = "sha256:{digest.hex()}"\n{more}\n'


def test_a_key_has_all_that_its_table_says() -> None:
    text = table(
        "alice",
        more='models = ["qwen*", "demo"]\nmax_running = 4\nrequests_per_minute = 60\n'
        "tokens_per_minute = 100000\npriority = 3\nexpires = 2027-01-01\nadmin = true",
    )
    (key,) = parse_keys(text, WHERE).values()
    day = datetime(2027, 1, 1, tzinfo=UTC)
    assert key == Key("alice", ONE, ("qwen*", "demo"), 4, 60, 100_000, 3, day, True)


def test_a_key_with_only_a_hash_may_use_everything_and_administer_nothing() -> None:
    key = parse_keys(table("bob"), WHERE)["bob"]
    assert (key.limited, key.admin, key.expired, key.may_use(["any"])) == (False,) * 3 + (True,)


def test_a_pattern_fits_a_name_or_an_alias_in_its_case() -> None:
    key = Key("a", ONE, ("qwen*", "gpt-4"))
    assert key.may_use(["qwen3-32b"])
    assert key.may_use(["llama", "gpt-4"])
    assert not key.may_use(["Qwen3", "llama"])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (table("a") + table("b", ONE), 5, "keys.b has the hash of keys.a"),
        (table("a", more="max_runing = 3"), 3, "unknown field; did you mean max_running?"),
        (table("a", more="colour = 3"), 3, "unknown field; expected one of hash, models"),
        (table("a", more="# four\nmax_running = 0"), 4, "from 1 to 65,535, got 0"),
        (table("a", more="requests_per_minute = -1"), 3, "from 1 to 1,000,000,000, got -1"),
        (table("a", more="tokens_per_minute = 10000000000000"), 3, "got 10000000000000"),
        (table("a", more="tokens_per_minute = 1.5"), 3, "expected a whole number"),
        (table("a", more="max_running = true"), 3, "expected a whole number"),
        (table("a", more='priority = "high"'), 3, "got a text of 4 characters"),
        (table("a", more='expires = "2027-01-01"'), 3, "expected a date, such as 2027-01-01"),
        (table("a", more="expires = 12:00:00"), 3, "got a time"),
        (table("a", more="admin = 1"), 3, "expected true or false, got 1"),
        (table("a", more='models = "qwen"'), 3, 'such as ["qwen*"]'),
        (table("a", more="models = []"), 3, "leave it out for all models"),
        (table("a", more="models = [3]"), 3, "names or patterns"),
        ("# a comment\n[keys.a]\nmax_running = 1\n", 2, "hash is missing"),
        ('[keys.a]\nhash = "md5:12"\n', 2, "as `enginix keys add` writes them"),
        ("[key.a]\n", 1, "expected only tables such as [keys.alice]"),
        ("keys = 3\n", None, "expected tables such as [keys.alice], got 3"),
        ('[keys]\nalice = "sk-secret"\n', None, "keys.alice: expected a table"),
        ('[keys."a b"]\n', 1, "rename it"),
        (table("a") + table("a", TWO), None, "twice"),
        ("[keys.a\n", None, "at line 1"),
        ("x = [" * 5000, None, "is not TOML"),
        (f"x = {'9' * 9999}", None, "is not TOML"),
        ("[keys.a]\nexpires = 2027-02-30\n", None, "at line 2"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_expected(
    text: str, line: int | None, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_keys(text, WHERE)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"keys.toml:{line}: " if line else "keys.toml")


@pytest.mark.parametrize(
    "text",
    ['[keys.a]\nhash = "sk-secret"\n', '[keys]\na = "sk-secret"\n', '[keys."sk-secret"]\n'],
)
def test_no_error_quotes_what_could_be_a_key(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_keys(text, WHERE)
    assert "sk-secret" not in str(caught.value)


def test_there_are_only_so_many_keys() -> None:
    text = "".join(f"[keys.k{number}]\n" for number in range(MAX_KEYS + 1))
    with pytest.raises(UsageError, match="found 1001 keys, expected at most 1000"):
        parse_keys(text, WHERE)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, mode: int
) -> None:
    path = written(tmp_path / "my keys.toml", table("a"), mode)
    with pytest.raises(UsageError) as caught:
        read_key_file(path)
    assert str(caught.value).endswith(f"is {mode:04o}, expected 0600; run: chmod 600 '{path}'")


def read_as_nobody(path: Path) -> str:
    """What the user 65534, who is in the group 4242, prints after reading the file."""
    program = (
        "import os, sys; from pathlib import Path; sys.path[:] = sys.argv[2:];"
        "from enginix.gateway.keys.key_file import read_key_file;"
        "os.setgroups([4242]); os.setgid(65534); os.setuid(65534);"
        "print(*read_key_file(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(path), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A file where another user may go, as Kubernetes mounts it: below a link, root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to root and be another user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "..data").symlink_to(".")
        yield written(Path(name) / "keys.toml", table("a"), 0o440)


def test_a_secret_that_kubernetes_mounts_for_the_pods_group_is_read(mounted: Path) -> None:
    os.chown(mounted, 0, 4242)
    assert read_as_nobody(mounted) == "a"


def test_a_credential_that_systemd_gives_to_a_services_user_is_read(mounted: Path) -> None:
    mounted.chmod(0o400)
    # An access list as systemd writes it: root and the user 65534 may read, the mask is r.
    entries = [(1, 4, NOBODY), (2, 4, 65534), (4, 0, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(mounted, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert stat.S_IMODE(mounted.stat().st_mode) == 0o440
    assert read_as_nobody(mounted) == "a"


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o460])
def test_a_mounted_secret_that_others_can_read_is_refused_with_what_to_set_in_the_pod(
    mounted: Path, mode: int
) -> None:
    os.chown(mounted, 0, 4242)
    mounted.chmod(mode)
    refusal = read_as_nobody(mounted)
    assert f"its mode is {mode:04o}, expected 0600; in Kubernetes set defaultMode: 0400" in refusal


def test_a_group_may_not_read_a_file_that_its_owner_uses(mounted: Path) -> None:
    os.chown(mounted, 65534, 4242)
    assert "its mode is 0440, expected 0600" in read_as_nobody(mounted)


def test_a_file_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    binary.chmod(0o600)
    for path, said in (
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory|is not a regular file"),
        (tmp_path / "fifo", "is not a regular file"),
        (binary, "is not UTF-8"),
    ):
        with pytest.raises(UsageError, match=said):
            read_key_file(path)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_is_taken_up_within_a_second_of_use(tmp_path: Path) -> None:
    path, clock = written(tmp_path / "keys.toml", table("a")), Clock()
    keys = KeyFile(path, clock)
    new = written(tmp_path / "new", table("b", TWO))
    new.replace(path)
    assert keys.find(TWO) is None
    clock.now += 1
    found = keys.find(TWO)
    assert found is not None
    assert found.name == "b"
    assert keys.find(ONE) is None


@pytest.mark.parametrize("how", ["wrong", "open", "gone"])
def test_a_broken_file_changes_nothing_and_is_said_once(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = written(tmp_path / "keys.toml", table("a")), Clock()
    keys = KeyFile(path, clock)
    if how == "gone":
        path.unlink()
    else:
        wrong = table("a", more="max_running = 0" if how == "wrong" else "")
        written(tmp_path / "new", wrong, 0o600 if how == "wrong" else 0o644).replace(path)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            clock.now += 1
            assert keys.find(ONE) is not None
    (line,) = caplog.messages
    assert str(path) in line
    assert line.endswith("the earlier keys stay in force")
    written(path, table("a", TWO))
    clock.now += 1
    assert (keys.find(ONE), keys.find(TWO) is None) == (None, False)


def test_the_last_key_can_be_revoked(tmp_path: Path) -> None:
    path, clock = written(tmp_path / "keys.toml", table("a")), Clock()
    keys = KeyFile(path, clock)
    written(tmp_path / "new", "# none\n").replace(path)
    clock.now += 1
    assert keys.find(ONE) is None
