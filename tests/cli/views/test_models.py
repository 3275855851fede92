"""`enginix status` shows the state of each model on one line."""

from __future__ import annotations

import pytest

from enginix.cli.views.models import duration, row

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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2 h")]
)
def test_a_duration_has_a_suitable_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
