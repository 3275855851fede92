"""Resolves host names, and notices when their addresses change."""

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

# How long resolved addresses are trusted, and how long once they seem wrong.
TRUSTED_SECONDS = 30.0
SUSPECT_SECONDS = 1.0


class Target(NamedTuple):
    """A numeric address to connect to, and the server's name as users know it."""

    server: str
    host: str
    port: int


class Resolver:
    """`targets` waits only for the first lookup; later ones run in the background."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        look_up: LookUp | None = None,
        *,
        trusted: float = TRUSTED_SECONDS,
        suspect: float = SUSPECT_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up or self._system_look_up
        self._found: dict[Address, frozenset[Target]] = {}
        self._errors: dict[Address, str] = {}
        self._looked_up = -inf
        self._trusted, self._suspect = trusted, suspect
        self._valid_for = 0.0
        self._task: asyncio.Task[None] | None = None

    async def targets(self) -> frozenset[Target]:
        if self._loop.time() >= self._looked_up + self._valid_for and self._task is None:
            self._task = self._loop.create_task(self._refresh())
        if not self._found and self._task is not None:
            await asyncio.wait([self._task])
        if not self._found:
            raise BackendUnavailable("; ".join(self._errors.values()))
        return frozenset().union(*self._found.values())

    def invalidate(self) -> None:
        """No server answered: their addresses may have changed."""
        self._valid_for = min(self._valid_for, self._suspect)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self) -> None:
        try:
            await asyncio.gather(*(self._refresh_one(one) for one in self._addresses))
        finally:
            self._task = None
            self._looked_up = self._loop.time()
            self._valid_for = self._suspect if self._errors else self._usual_validity()

    def _usual_validity(self) -> float:
        names = [one for one in self._addresses if not _is_numeric(one.host)]
        return self._trusted if names else inf

    async def _refresh_one(self, address: Address) -> None:
        """Keep the known addresses if the name cannot be resolved now."""
        try:
            hosts = await self._look_up(address)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._errors[address] = f"cannot resolve host {address.host!r} of Triton: {why}"
        else:
            self._errors.pop(address, None)
            self._found[address] = frozenset(
                Target(str(address), host, address.port) for host in hosts
            )

    async def _system_look_up(self, address: Address) -> Iterable[str]:
        answers = await self._loop.getaddrinfo(address.host, address.port, type=SOCK_STREAM)
        return [str(socket_address[0]) for *_, socket_address in answers]


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
