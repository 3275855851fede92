"""An engine is found by directory or model name, and a missing one says how to build it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enginix.cli.find_engine import find_directory, find_engine
from enginix.errors import ModelUnknown, NotAnEngine, UsageError
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    read_manifest,
    write_manifest,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "enginix"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ENGINIX_ENGINE", raising=False)
    return tmp_path


def engine(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "manifest.json").touch()
    return directory


def test_a_path_is_used_unchanged(tmp_path: Path) -> None:
    assert find_engine(f"{tmp_path}/mine") == tmp_path / "mine"


def test_a_directory_takes_precedence_over_a_model_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_engine(engine(tmp_path / "demo").name) == tmp_path / "demo"


def test_a_built_model_is_found_by_its_name(home: Path) -> None:
    built = engine(home / "enginix" / "engines" / "demo")
    assert find_engine("demo") == built


def test_a_link_in_the_working_directory_is_found(home: Path) -> None:
    linked = engine(home / ".cache" / "trtllm-engines" / "demo")
    assert find_engine("demo") == linked


def test_an_engine_outside_the_catalogue_is_found_by_name(home: Path) -> None:
    linked = engine(home / ".cache" / "trtllm-engines" / "my-qwen-tp4")
    assert find_engine("my-qwen-tp4") == linked


def test_a_similar_name_outside_the_catalogue_is_suggested(home: Path) -> None:
    engine(home / ".cache" / "trtllm-engines" / "my-qwen-tp4")
    with pytest.raises(ModelUnknown, match="did you mean my-qwen-tp4"):
        find_engine("my-qwen-tp2")


def test_without_a_name_the_environment_variable_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINIX_ENGINE", "/nix/store/some-engine")
    assert find_engine(None) == Path("/nix/store/some-engine")


def test_without_any_name_the_error_says_how_to_give_one() -> None:
    with pytest.raises(UsageError, match="pass its directory or name, or ENGINIX_ENGINE"):
        find_engine(None)


def test_the_environment_overrides_the_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(home / "enginix" / "engines" / "demo")
    monkeypatch.setenv("ENGINIX_ENGINE", "/nix/store/some-engine")
    assert find_engine("demo") == Path("/nix/store/some-engine")


def test_an_engine_that_is_being_removed_has_no_name(home: Path) -> None:
    engine(home / "enginix" / "engines" / ".mine.removing-0123abcd")
    with pytest.raises(ModelUnknown):
        find_engine(".mine.removing-0123abcd")


def test_a_directory_that_is_no_engine_yet_comes_before_a_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = engine(home / "enginix" / "engines" / "demo")
    monkeypatch.chdir(tmp_path)
    assert find_directory("demo") == built
    (tmp_path / "demo").mkdir()
    assert find_directory("demo") == Path("demo")


def test_an_engine_is_found_by_an_alias(home: Path) -> None:
    built = engine(home / "enginix" / "engines" / "demo")
    assert find_engine("tiny-qwen3") == built


def test_a_model_without_an_engine_says_how_to_build_it() -> None:
    with pytest.raises(NotAnEngine, match=r"not built yet .*trtllm-engines.*enginix engine build"):
        find_engine("demo")


def test_an_unknown_name_suggests_similar_ones() -> None:
    with pytest.raises(ModelUnknown, match="did you mean demo"):
        find_engine("demmo")


def test_the_name_chooses_among_several_given_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (named_engine(tmp_path / name, name) for name in ("demo", "qwen3-32b"))
    monkeypatch.setenv("ENGINIX_ENGINE", f"{first}:{second}")
    assert find_engine("qwen3-32b") == second
    with pytest.raises(UsageError, match="names 2 engines; say which"):
        find_engine(None)


def named_engine(directory: Path, name: str) -> Path:
    directory.mkdir()
    manifest = Manifest(
        name=name,
        kind="gguf",
        architecture="Qwen3ForCausalLM",
        source=Source(None, None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(),
        limits=Limits(16, 512, 512),
        built_with=BuiltWith("0.1.0"),
        files={},
    )
    write_manifest(directory, manifest)
    return directory


def test_an_engine_that_is_not_built_is_answered_with_the_command_that_builds_it(
    home: Path,
) -> None:
    place = home / "enginix" / "engines" / "qwen3-32b"
    with pytest.raises(NotAnEngine, match=f"`enginix engine build qwen3-32b --out {place}`"):
        find_engine("qwen3-32b")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_word_that_is_no_name_but_a_file_here_means_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "something")
    found = find_engine("something")
    with pytest.raises(NotAnEngine, match="something is not an enginix engine: it"):
        read_manifest(found)


def test_a_directory_that_does_not_exist_is_said_not_to(tmp_path: Path) -> None:
    with pytest.raises(NotAnEngine, match="nowhere is not an enginix engine: it does not exist"):
        read_manifest(find_engine(f"{tmp_path}/nowhere"))
