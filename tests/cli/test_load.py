"""What `enginix load` asks a gateway for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from enginix.cli.load import add_arguments, load_request


def requested(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return load_request(parser.parse_args(list(words)))


def test_a_path_that_is_here_is_loaded_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").touch()
    monkeypatch.chdir(tmp_path)
    for word in ("tiny.gguf", "./tiny.gguf", str(tmp_path / "tiny.gguf")):
        assert requested(word) == {"model_path": str(tmp_path / "tiny.gguf")}


@pytest.mark.parametrize("name", ["demo", "org/name", "other.gguf"])
def test_what_is_no_path_here_is_a_name(name: str) -> None:
    assert requested(name) == {"model": name}


def test_a_name_beside_a_path_is_what_clients_use(tmp_path: Path) -> None:
    wanted = {"model": "mine", "model_path": str(tmp_path)}
    assert requested("mine", "--path", str(tmp_path)) == wanted
