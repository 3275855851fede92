"""A key that no request could have is refused where it is read, and is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.cli import environment
from enginix.cli.api_keys import read_keys
from enginix.errors import UsageError
from enginix.gateway.keys.key_file import read_key_file

UNUSABLE = {
    "schlüssel": "not ASCII",
    "sk\N{EN DASH}1": "not ASCII",
    "sk-1\N{ZERO WIDTH SPACE}": "not ASCII",
    "sk-1 # alice": "space",
    "alice sk-1": "space",
    "sk\t1": "control character",
    "sk\0001": "control character",
    '"sk-1"': "quotes",
    "'sk-1'": "quotes",
}


@pytest.mark.parametrize(("key", "reason"), UNUSABLE.items())
def test_a_file_with_such_a_key_is_refused_with_its_line(
    key: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# keys\nsk-good\n\n{key}\n", encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read_keys(file)
    assert f"{file}:4: the key " in str(refused.value)
    assert reason in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize(("key", "reason"), UNUSABLE.items())
def test_a_variable_with_such_a_key_is_refused(
    key: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment holds no zero bytes.
    key = key.replace("\0", "\1")
    monkeypatch.setenv("ENGINIX_API_KEYS", f"sk-good,{key}")
    with pytest.raises(UsageError, match=f"^ENGINIX_API_KEYS: a key .*{reason}") as refused:
        environment.api_keys()
    assert key not in str(refused.value)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match=f"^OPENAI_API_KEY: a key .*{reason}"):
        environment.openai_key()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfsk-1\nsk-2\n",
        b"sk-1\r\nsk-2\r\n",
        b"  sk-1  \n\n\tsk-2",
        b"# keys\n  # of us\nsk-1\nsk-2\nsk-1\n",
    ],
    ids=["byte-order mark", "Windows' line ends", "spaces around", "comments, and one twice"],
)
def test_what_editors_put_around_keys_is_not_part_of_them(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    assert read_keys(file) == {"sk-1", "sk-2"}


def test_a_file_of_comments_holds_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("  # later\n\n")
    with pytest.raises(UsageError, match="holds no key; write one key per line"):
        read_keys(file)


def test_a_line_end_after_a_servers_key_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\r\n")
    assert environment.openai_key() == "sk-1"


def test_a_byte_order_mark_before_named_keys_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys.alice]\nhash = "sha256:{1:064x}"\n', encoding="utf-8-sig")
    file.chmod(0o600)
    assert list(read_key_file(file)) == ["alice"]
