"""Models are loaded from under their roots, whatever a path says and wherever links lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.errors import RequestError
from enginix.serve.roots import allowed_path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """roots/engine is allowed; outside/secret is not."""
    for directory in ("roots/engine", "outside/secret"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "model.gguf").touch()
    return tmp_path


def test_a_directory_under_a_root_is_allowed(place: Path) -> None:
    engine = place / "roots" / "engine"
    assert allowed_path(str(engine), [place / "other", place / "roots"]) == engine


def test_a_link_is_followed_to_where_it_leads_under_a_root(place: Path) -> None:
    (place / "roots" / "link").symlink_to("engine")
    found = allowed_path(str(place / "roots" / "link"), [place / "roots"])
    assert found == place / "roots" / "engine"


def test_a_root_may_be_a_link_itself(place: Path) -> None:
    (place / "linked").symlink_to("roots")
    assert allowed_path(str(place / "linked" / "engine"), [place / "linked"])


@pytest.mark.parametrize(
    "path",
    [
        "{place}/outside/secret",
        "{place}/roots/../outside/secret",
        "{place}/roots/engine/../../outside/secret",
        "{place}/roots-of-another/engine",
        "{place}/roots/escape",
        "{place}/roots/escape/secret",
        "{place}/roots/loop",
        "{place}/outside/nothing",
        "roots/engine",
        "../outside/secret",
        "~/engine",
        "",
        "{place}/roots/engine\0",
        "/",
    ],
)
def test_what_leads_outside_is_refused_in_one_way(place: Path, path: str) -> None:
    (place / "roots" / "escape").symlink_to(place / "outside")
    (place / "roots" / "loop").symlink_to("loop")
    with pytest.raises(RequestError, match="not under this server's model roots") as refused:
        allowed_path(path.format(place=place), [place / "roots"])
    assert (refused.value.param, refused.value.code) == ("model_path", "path_not_allowed")


def test_a_file_that_links_outside_is_refused(place: Path) -> None:
    (place / "roots" / "engine" / "tokenizer.json").symlink_to(place / "outside/secret/model.gguf")
    with pytest.raises(RequestError, match=r"its tokenizer\.json leads out"):
        allowed_path(str(place / "roots" / "engine"), [place / "roots"])


def test_a_directory_that_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(RequestError, match="there is no directory"):
        allowed_path(str(place / "roots" / "nothing"), [place / "roots"])


def test_a_file_is_no_directory(place: Path) -> None:
    (place / "roots" / "engine" / "model.bin").touch()
    with pytest.raises(RequestError, match="there is no directory"):
        allowed_path(str(place / "roots" / "engine" / "model.bin"), [place / "roots"])


def test_a_gguf_file_under_a_root_is_allowed(place: Path) -> None:
    file = place / "roots" / "engine" / "model.gguf"
    assert allowed_path(str(file), [place / "roots"]) == file


def test_a_gguf_file_that_is_a_link_out_of_the_roots_is_refused(place: Path) -> None:
    link = place / "roots" / "linked.gguf"
    link.symlink_to(place / "outside" / "secret" / "model.gguf")
    with pytest.raises(RequestError, match="not under this server's model roots"):
        allowed_path(str(link), [place / "roots"])
