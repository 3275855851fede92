"""`enginix triton` serves, whatever becomes of what it prints."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from enginix.cli.triton import leader_of, say
from enginix.errors import UsageError


@pytest.mark.parametrize(
    ("text", "leader"),
    [
        ("gpu1", ("gpu1", 8003)),
        ("gpu1.lan:9", ("gpu1.lan", 9)),
        ("192.0.2.7:9", ("192.0.2.7", 9)),
        ("::1", ("::1", 8003)),
        ("2001:db8::1:9", ("2001:db8::1:9", 8003)),
        ("[2001:db8::1]", ("2001:db8::1", 8003)),
        ("[2001:db8::1]:9", ("2001:db8::1", 9)),
        ("[fe80::1%eth0]:9", ("fe80::1%eth0", 9)),
    ],
)
def test_a_node_joins_a_name_or_an_address_of_either_family(
    text: str, leader: tuple[str, int]
) -> None:
    assert leader_of(text) == leader


@pytest.mark.parametrize(
    "text",
    ["", ":9", "gpu1:", "gpu1:x", "gpu1:0", "gpu1:65536", "[gpu1]:9", "[]:9", "[::1:9", "a:b:9"],
)
def test_what_is_no_leaders_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected HOST, HOST:PORT, an IPv6 address, or"):
        leader_of(text)


def test_a_log_on_a_full_disk_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = False
    # Closing it fails: that writes what is left once more.
    with suppress(OSError), Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        say("Triton serves demo")
        went_on = True
    assert went_on
