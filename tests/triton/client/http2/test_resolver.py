from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import pytest

from enginix.errors import BackendUnavailable
from enginix.triton.client.address import Address
from enginix.triton.client.http2.resolver import Resolver

NAME = Address("triton", 8001)


class Names:
    """A scripted name service that counts its queries."""

    def __init__(self, *answers: list[str] | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def look_up(self, address: Address) -> Iterable[str]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answer


async def hosts(one: Resolver) -> set[str]:
    return {target.host for target in await one.targets()}


async def test_every_address_of_a_name_is_a_target() -> None:
    names = Names(["10.0.0.1", "10.0.0.2", "10.0.0.1"])
    assert await hosts(Resolver((NAME,), names.look_up)) == {"10.0.0.1", "10.0.0.2"}


async def test_concurrent_callers_share_one_query() -> None:
    names = Names(["10.0.0.1"])
    one = Resolver((NAME,), names.look_up)
    await asyncio.gather(*(one.targets() for _ in range(20)))
    assert names.asked == 1


async def test_a_known_answer_is_believed_for_a_while() -> None:
    names = Names(["10.0.0.1"], ["10.0.0.2"])
    one = Resolver((NAME,), names.look_up)
    assert await hosts(one) == await hosts(one) == {"10.0.0.1"}
    assert names.asked == 1


async def test_an_old_answer_serves_while_the_new_one_is_fetched() -> None:
    names = Names(["10.0.0.1"], ["10.0.0.2"])
    one = Resolver((NAME,), names.look_up, trusted=0)
    assert await hosts(one) == {"10.0.0.1"}
    assert await hosts(one) == {"10.0.0.1"}
    await asyncio.sleep(0.01)
    assert await hosts(one) == {"10.0.0.2"}


async def test_a_name_that_is_lost_keeps_its_last_addresses() -> None:
    one = Resolver((NAME,), Names(["10.0.0.1"], None).look_up, trusted=0, suspect=0)
    for _ in range(3):
        assert await hosts(one) == {"10.0.0.1"}
        await asyncio.sleep(0.01)


async def test_an_unresolved_name_is_looked_up_again() -> None:
    one = Resolver((NAME,), Names(None, ["10.0.0.1"]).look_up, suspect=0)
    with pytest.raises(BackendUnavailable, match="cannot resolve host 'triton'"):
        await one.targets()
    assert await hosts(one) == {"10.0.0.1"}


async def test_one_lost_name_of_two_does_not_matter() -> None:
    one = Resolver((NAME, Address("10.0.0.9", 8001)), Names(None, ["10.0.0.9"]).look_up)
    assert await hosts(one) == {"10.0.0.9"}
