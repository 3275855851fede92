"""Profiles load strictly, and their command lines are plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.catalog.load import find_model
from enginix.errors import UsageError
from enginix.serve.commands import gateway_command, triton_command
from enginix.serve.profile import GatewayEntry, ModelEntry, load_profile, profile_names


def written(directory: Path, text: str) -> Path:
    (directory / "mine.toml").write_text(text)
    return directory


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_names_models_of_the_catalogue(name: str) -> None:
    for entry in load_profile(name).models:
        assert find_model(entry.name)


@pytest.mark.parametrize("name", ["nope", "../demo", "", "demo.toml"])
def test_an_unknown_profile_names_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"there is .*demo"):
        load_profile(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = ", "mine.toml"),
        ("", "title"),
        ('title = "x"\ncolor = 1', r"unknown keys \['color'\]"),
        ('title = "x"\n[[model]]\nname = "a"\nport = 1', r"model: unknown keys \['port'\]"),
        ('title = "x"\n[[model]]\nname = "a"\n[[model]]\nname = "a"', "two models have one name"),
    ],
)
def test_a_mistake_in_a_profile_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_profile("mine", written(tmp_path, text))


def test_triton_is_given_the_engine_and_its_ports() -> None:
    command = triton_command(["enginix"], ModelEntry("demo", 1, 2, 3), Path("/e"))
    assert command == [
        *("enginix", "triton", "/e"),
        *("--http-port=1", "--grpc-port=2", "--metrics-port=3"),
    ]


def test_the_gateway_is_pointed_at_tritons_grpc_port() -> None:
    command = gateway_command(["enginix"], GatewayEntry(9), ModelEntry("demo", 1, 2, 3), Path("/e"))
    assert command == [
        *("enginix", "openai", "/e", "--host=127.0.0.1", "--port=9"),
        "--triton=127.0.0.1:2",
    ]
