"""`enginix triton` serves, whatever becomes of what it prints."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from enginix.cli.triton import say


def test_a_log_on_a_full_disk_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = False
    # Closing it fails: that writes what is left once more.
    with suppress(OSError), Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        say("Triton serves demo")
        went_on = True
    assert went_on
