"""`enginix status` shows the state of each model on one line."""

from __future__ import annotations

import pytest

from enginix.cli.views.models import duration, replicas_of, row, show_configuration

MODEL = {
    "id": "m",
    "kind": "vllm",
    "status": "loaded",
    "last_token_seconds": None,
    "running": 2,
    "queued": 1,
}


def test_a_supervised_server_shows_its_process_and_restarts() -> None:
    known = {**MODEL, "since": 100.0, "pid": 7, "restarts": 3, "last_token_seconds": 0.4}
    assert row(known, 160.0) == [
        *("m", "vllm", "loaded", "60 s", "7", "2", "1", "0 s ago", "3"),
    ]


def test_an_unsupervised_server_has_blank_columns() -> None:
    assert row(MODEL, 160.0) == ["m", "vllm", "loaded", "", "", "2", "1", "never", ""]


def test_each_replica_has_a_line_below_its_model() -> None:
    gateways = {"address": "host:1", "in_rotation": True, "reason": None, "running": 2}
    process = {"status": "loaded", "since": 100.0, "pid": 7, "restarts": 3}
    external = {"address": "host:2", "status": "external", "since": 100.0, "restarts": 0}
    replicas = [{**gateways, **process}, external, {**gateways, "in_rotation": False}]
    assert [row(each, 160.0) for each in replicas_of({**MODEL, "replicas": replicas})] == [
        ["  host:1", "", "loaded", "60 s", "7", "2", "", "", "3"],
        ["  host:2", "", "external", "60 s", "", "", "", "", "0"],
        ["  host:1", "", "error", "", "", "2", "", "", ""],
    ]
    assert replicas_of(MODEL) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2 h")]
)
def test_a_duration_has_a_suitable_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_files_that_are_not_in_force_are_told_and_nothing_where_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    in_force = {"files": ["m.json"], "error": None, "changing": None, "failed": {}}
    show_configuration(None)
    show_configuration(in_force)
    assert capsys.readouterr().out == ""
    show_configuration({**in_force, "error": "m.json: line 4", "changing": "a is being added"})
    show_configuration({**in_force, "failed": {"b": "it did not start"}})
    assert capsys.readouterr().out.splitlines() == [
        "not in force: m.json: line 4",
        "a is being added",
        "b is not as the file has it: it did not start",
    ]
