"""A record is decoded as its fields are typed, and what does not fit is named by its path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enginix.errors import UsageError
from enginix.records import decode, read_json


@dataclass(frozen=True, slots=True)
class Wheel:
    inches: float


@dataclass(frozen=True, slots=True)
class Cart:
    name: str
    wheels: Sequence[Wheel]
    owner: str | None = None
    load: int = 0
    sold: bool = False
    place: Path | None = None
    tags: tuple[str, ...] = ()
    prices: Mapping[str, int] = field(default_factory=dict)
    options: dict[str, str | int | float | bool] = field(default_factory=dict)
    notes: Any = None


CART = {"name": "hay", "wheels": [{"inches": 20.5}]}


def decoded(**changes: object) -> Cart:
    return decode(Cart, CART | changes, "cart.json", UsageError)


def test_what_is_left_out_has_its_default() -> None:
    assert decoded() == Cart("hay", [Wheel(20.5)])


def test_a_record_that_was_written_is_read_back() -> None:
    cart = decoded(owner="Ann", load=3, sold=True, prices={"full": 7}, notes=[{"a": 1}])

    assert decode(Cart, json.loads(json.dumps(asdict(cart))), "cart.json", UsageError) == cart


def test_values_become_what_their_fields_are() -> None:
    cart = decoded(wheels=[{"inches": 20}], place="a/b", tags=["new"])

    assert type(cart.wheels[0].inches) is float
    assert (cart.place, cart.tags) == (Path("a/b"), ("new",))


def test_one_of_several_plain_types_keeps_its_own() -> None:
    options = {"text": "1", "whole": 1, "share": 0.5, "flag": True}

    assert [type(each) for each in decoded(options=options).options.values()] == [
        str,
        int,
        float,
        bool,
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "cart.json: name: expected a string, got None"),
        ({"owner": 3}, "cart.json: owner: expected a string, got 3"),
        ({"load": 1.0}, "cart.json: load: expected a whole number, got 1.0"),
        ({"load": True}, "cart.json: load: expected a whole number, got True"),
        ({"sold": 1}, "cart.json: sold: expected true or false, got 1"),
        ({"wheels": {}}, "cart.json: wheels: expected a list, got {}"),
        ({"wheels": [3]}, "cart.json: wheels[0]: expected an object, got 3"),
        ({"wheels": [{"inches": "9"}]}, "cart.json: wheels[0]: inches: expected a number, got '9'"),
        ({"wheels": [{"inches": True}]}, "wheels[0]: inches: expected a number, got True"),
        ({"wheels": [{}]}, "cart.json: wheels[0]: inches is missing"),
        ({"prices": {"full": "7"}}, "cart.json: prices.full: expected a whole number, got '7'"),
        ({"place": 3}, "cart.json: place: expected a string, got 3"),
        ({"color": "red"}, "cart.json: unknown keys ['color']"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        decoded(**changes)
    assert str(raised.value).endswith(message)


def test_everything_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r"^cart: name, wheels are missing$"):
        decode(Cart, {}, "cart", UsageError)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cart.json").write_bytes(content)

    with pytest.raises(UsageError, match=r"cart\.json (is not JSON|cannot be read): "):
        read_json(tmp_path / "cart.json", UsageError)


def test_an_absent_file_is_not_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "cart.json", UsageError)
