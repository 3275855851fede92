from __future__ import annotations

import pytest

from enginix.errors import UsageError
from enginix.triton.client.address import Address, parse_addresses


def test_one_address_is_host_and_port() -> None:
    assert parse_addresses("triton.local:8001") == (Address("triton.local", 8001),)


def test_several_addresses_are_separated_by_commas() -> None:
    assert parse_addresses("a:1, 10.0.0.2:2") == (Address("a", 1), Address("10.0.0.2", 2))


def test_an_ipv6_address_is_in_brackets_and_is_written_so() -> None:
    (address,) = parse_addresses("[::1]:8001")
    assert address == Address("::1", 8001)
    assert str(address) == "[::1]:8001"


@pytest.mark.parametrize(
    "text",
    ["", "host", ":8001", "host:", "host:http", "host:0", "host:65536", "::1:8001", "a:1,", "h:-1"],
)
def test_anything_else_is_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(UsageError, match="expected host:port"):
        parse_addresses(text)
