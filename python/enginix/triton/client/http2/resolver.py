"""Finds the addresses behind host names, and notices when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from math import inf
from socket import SOCK_STREAM
from typing import NamedTuple

from enginix.errors import BackendUnavailable
from enginix.triton.client.address import Address

LookUp = Callable[[Address], Awaitable[Iterable[str]]]

# How long the addresses behind a name are believed, and how long when they seem wrong.
BELIEVED_SECONDS = 30.0
DOUBTED_SECONDS = 1.0


class Target(NamedTuple):
    """A numeric address to connect to, and how the server is called by its users."""

    server: str
    host: str
    port: int


class Resolver:
    """`targets` waits for the first answer only; later ones are fetched in the background."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        look_up: LookUp | None = None,
        *,
        believed: float = BELIEVED_SECONDS,
        doubted: float = DOUBTED_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up or self._ask_system
        self._found: dict[Address, frozenset[Target]] = {}
        self._errors: dict[Address, str] = {}
        self._asked = -inf
        self._believed, self._doubted = believed, doubted
        self._patience = 0.0
        self._task: asyncio.Task[None] | None = None

    async def targets(self) -> frozenset[Target]:
        if self._loop.time() >= self._asked + self._patience and self._task is None:
            self._task = self._loop.create_task(self._ask())
        if not self._found and self._task is not None:
            await asyncio.wait([self._task])
        if not self._found:
            raise BackendUnavailable("; ".join(self._errors.values()))
        return frozenset().union(*self._found.values())

    def invalidate(self) -> None:
        """No server answered: perhaps they have moved."""
        self._patience = min(self._patience, self._doubted)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        try:
            await asyncio.gather(*(self._ask_for(one) for one in self._addresses))
        finally:
            self._task = None
            self._asked = self._loop.time()
            self._patience = self._doubted if self._errors else self._usual_patience()

    def _usual_patience(self) -> float:
        names = [one for one in self._addresses if not _is_numeric(one.host)]
        return self._believed if names else inf

    async def _ask_for(self, address: Address) -> None:
        """Keeps what is known when the name cannot be resolved now."""
        try:
            hosts = await self._look_up(address)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._errors[address] = f"cannot find host {address.host!r} of Triton: {why}"
        else:
            self._errors.pop(address, None)
            self._found[address] = frozenset(
                Target(str(address), host, address.port) for host in hosts
            )

    async def _ask_system(self, address: Address) -> Iterable[str]:
        answers = await self._loop.getaddrinfo(address.host, address.port, type=SOCK_STREAM)
        return [str(socket_address[0]) for *_, socket_address in answers]


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
