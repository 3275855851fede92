"""`enginix keys` and `enginix usage`: a file is changed whole or not at all, and shows no key."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginix.cli.gateway_options import settings_of
from enginix.cli.main import main
from enginix.errors import UsageError
from enginix.gateway.keys.key import digest_of
from enginix.gateway.keys.key_file import read_key_file
from enginix.gateway.keys.ledger import MAX_WORKERS
from enginix.gateway.keys.usage import UsageLog, Used, usage_directory
from enginix.serve.profile import GatewayEntry

HAND = """\
# Who may use this machine.

[keys.alice]
hash = "sha256:{0:064x}"  # since 2026
priority = 3

# Bob's.
[keys.bob]
hash = "sha256:{1:064x}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ENGINIX_API_KEYS", raising=False)
    return tmp_path / "keys.toml"


def by_hand(file: Path) -> str:
    text = HAND.format(1, 2)
    file.write_text(text)
    file.chmod(0o600)
    return text


def test_a_new_key_is_printed_once_and_only_its_hash_is_kept(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "add", "alice"]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("sk-")
    assert len(key) > 40
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_key_file(file)["alice"].digest == digest_of(key)
    assert [path.name for path in file.parent.iterdir() if path.name != "home"] == ["keys.toml"]


def test_every_limit_has_an_option(file: Path) -> None:
    words = (
        "--models qwen* demo --max-running 4 --requests-per-minute 60 --tokens-per-minute 1000 "
        "--priority -2 --expires 2999-01-01 --admin"
    )
    assert main(["keys", "add", "a.b", *words.split()]) == 0
    key = read_key_file(file)["a.b"]
    assert key.models == ("qwen*", "demo")
    limits = (key.max_running, key.requests_per_minute, key.tokens_per_minute, key.priority)
    assert limits == (4, 60, 1000, -2)
    assert (str(key.expires), key.admin) == ("2999-01-01 00:00:00+00:00", True)


def test_adding_and_revoking_leaves_the_rest_of_the_file_as_it_is(file: Path) -> None:
    text = by_hand(file)
    main(["keys", "add", "carol"])
    assert file.read_text().startswith(text)
    main(["keys", "revoke", "carol"])
    assert file.read_text().strip() == text.strip()
    main(["keys", "revoke", "alice"])
    assert file.read_text().strip() == (
        f'# Who may use this machine.\n\n\n# Bob\'s.\n[keys.bob]\nhash = "sha256:{2:064x}"'
    )


def test_many_at_once_lose_no_key(file: Path) -> None:
    names = [f"key-{number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda name: main(["keys", "add", name]), names)) == {0}
    assert sorted(read_key_file(file)) == sorted(names)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("add alice", "has a key named 'alice'; revoke it first"),
        ("add sk-x", "KEY_NAME: expected letters"),
        ("add sk-x", "no sk- at the beginning"),
        ("add dora --max-running 0", "--max-running: expected a whole number from 1"),
        ("add dora --requests-per-minute -5", "--requests-per-minute: expected a whole number"),
        ("add dora --models 'a", "--file"),
        ("revoke alic", "no key named 'alic'; did you mean alice?"),
        ("add dora --file keys.txt", "expected a name that ends in .toml"),
        ("add dora --file /no/keys.toml", "cannot be opened: No such file"),
        ("list --file none.toml", "cannot be read"),
    ],
)
def test_a_mistake_changes_nothing_and_is_one_line(
    file: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = by_hand(file)
    if "'a" in words:
        file.write_text('keys.alice = { hash = "sha256:' + "0" * 64 + '" }\n')
        words, text, said = "revoke alice", file.read_text(), "edit it by hand"
    assert main(["keys", *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert file.read_text() == text


def test_the_list_shows_limits_and_no_hash(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "list", "--file", "none.toml"])
    by_hand(file)
    main(["keys", "add", "old", "--expires", "2020-01-01"])
    capsys.readouterr()
    main(["keys", "list"])
    shown = capsys.readouterr().out
    assert "2020-01-01 (expired)" in shown
    assert "0000" not in shown
    main(["keys", "list", "--json"])
    rows = json.loads(capsys.readouterr().out)["keys"]
    assert [(row["name"], row["priority"]) for row in rows] == [
        ("alice", 3),
        ("bob", 0),
        ("old", 0),
    ]


def test_a_gateway_begins_only_with_a_file_that_is_right(file: Path) -> None:
    entry = GatewayEntry(api_keys=str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        settings_of(entry)
    by_hand(file)
    settings = settings_of(entry)
    assert (settings.key_file, settings.keyless, settings.api_keys) == (file, False, frozenset())
    assert settings.usage_directory == file.parent / "home" / "usage"
    with pytest.raises(UsageError, match="--workers is 129"):
        settings_of(GatewayEntry(api_keys=str(file), workers=MAX_WORKERS + 1))
    file.chmod(0o640)
    with pytest.raises(UsageError, match=f"run: chmod 600 {file}"):
        settings_of(entry)
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(UsageError, match="holds no key; add one: enginix keys add"):
        settings_of(entry)


def test_usage_is_a_line_per_key_and_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["usage"])
    assert "nothing was used with a named key" in capsys.readouterr().out
    directory = usage_directory(file.parent / "home")
    for moment, key in ((0.0, "alice"), (None, "bob")):
        log = UsageLog(directory) if moment is None else UsageLog(directory, lambda: 0.0)
        log.note(key, "demo", Used(1, 0, 1234, 5))
        log.write()
    main(["usage"])
    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "since 1970-01-01 00:00 UTC" in shown
    main(["usage", "--days", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["usage"] == [
        {
            "key": "bob",
            "model": "demo",
            "requests": 1,
            "failed": 0,
            "prompt_tokens": 1234,
            "completion_tokens": 5,
        }
    ]
    assert main(["usage", "--days", "-1"]) == 2
