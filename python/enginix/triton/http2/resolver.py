"""Finds the addresses behind host names, and notices when they change."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from math import inf
from typing import NamedTuple

from enginix.errors import BackendUnavailable
from enginix.triton.address import Address

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

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self._addresses = addresses
        self._loop = asyncio.get_running_loop()
        self._found: dict[Address, frozenset[Target]] = {}
        self._errors: dict[Address, str] = {}
        self._asked = -inf
        self._believed = BELIEVED_SECONDS
        self._task: asyncio.Task[None] | None = None

    async def targets(self) -> frozenset[Target]:
        if self._loop.time() >= self._asked + self._believed and self._task is None:
            self._task = self._loop.create_task(self._ask())
        if not self._found and self._task is not None:
            await asyncio.wait([self._task])
        if not self._found:
            raise BackendUnavailable("; ".join(self._errors.values()))
        return frozenset().union(*self._found.values())

    def doubt(self) -> None:
        """No server answered: perhaps they have moved."""
        self._believed = min(self._believed, DOUBTED_SECONDS)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        try:
            await asyncio.gather(*(self._ask_for(one) for one in self._addresses))
        finally:
            self._task = None
            self._asked = self._loop.time()
            names = [one for one in self._addresses if not _is_numeric(one.host)]
            self._believed = BELIEVED_SECONDS if names else inf

    async def _ask_for(self, address: Address) -> None:
        """Keeps what is known when the name cannot be resolved now."""
        try:
            answers = await self._loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._errors[address] = f"cannot find host {address.host!r} of Triton: {why}"
        else:
            self._found[address] = frozenset(
                Target(str(address), str(socket_address[0]), address.port)
                for *_, socket_address in answers
            )


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
