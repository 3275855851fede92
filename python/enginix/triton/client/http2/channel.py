"""The lean transport: spreads requests over the servers that are reachable, round robin."""

from __future__ import annotations

import asyncio
from collections import deque

from enginix.errors import BackendUnavailable, SafeToRetry
from enginix.generation.limits import Limits
from enginix.generation.request import Headers
from enginix.triton.client.address import Address
from enginix.triton.client.http2.connection import Late
from enginix.triton.client.http2.endpoint import Endpoint
from enginix.triton.client.http2.resolver import Resolver, Target
from enginix.triton.client.http2.stream import Stream


class Http2Transport:
    """Keeps one connection for every address, and for every address behind a name."""

    def __init__(self, addresses: tuple[Address, ...], limits: Limits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(addresses)
        self._endpoints: dict[Target, Endpoint] = {}
        self._late = Late()
        self._turn = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def several(self) -> bool:
        return len(self._endpoints) > 1

    @property
    def late_messages(self) -> int:
        return self._late.messages

    async def open(self, message: bytes, metadata: Headers = ()) -> Stream:
        self._update(await self._resolver.targets())
        attempts: dict[Endpoint, asyncio.Task[None]] = {}
        # Requests that already wait go first.
        queue = bool(self._waiting)
        while True:
            endpoints = self._in_turn()
            usable = [one.connection for one in endpoints if one.connection is not None]
            available = [connection for connection in usable if connection.has_capacity]
            connecting = self._connect(endpoints, attempts)
            if available and not queue:
                stream = available[0].start(message, metadata)
                self._wake_next()
                return stream
            if usable:
                await self._wait_for_capacity(first=not queue)
                queue = False
            elif connecting:
                await asyncio.wait(connecting, return_when=asyncio.FIRST_COMPLETED)
                queue = False
            else:
                self._resolver.invalidate()
                self._wake_next()
                raise self._unreachable(endpoints)

    async def close(self) -> None:
        self._resolver.close()
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _update(self, targets: frozenset[Target]) -> None:
        """Follow the addresses behind the names."""
        if targets == self._endpoints.keys():
            return
        for target in self._endpoints.keys() - targets:
            self._endpoints.pop(target).retire()
        for target in sorted(targets - self._endpoints.keys()):
            self._endpoints[target] = Endpoint(target, self._limits, self._wake_next, self._late)

    def _in_turn(self) -> list[Endpoint]:
        endpoints = list(self._endpoints.values())
        self._turn += 1
        first = self._turn % len(endpoints)
        return endpoints[first:] + endpoints[:first]

    def _connect(
        self, endpoints: list[Endpoint], attempts: dict[Endpoint, asyncio.Task[None]]
    ) -> list[asyncio.Task[None]]:
        """Connection attempts in progress; a request waits for at most one attempt per endpoint."""
        for endpoint in endpoints:
            if endpoint.connection is None and endpoint not in attempts:
                task = endpoint.connect()
                if task is not None:
                    attempts[endpoint] = task
        return [task for task in attempts.values() if not task.done()]

    async def _wait_for_capacity(self, *, first: bool) -> None:
        """Wait until a stream has ended or a connection has changed."""
        turn = self._loop.create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self._wake_next()
            raise

    def _wake_next(self) -> None:
        """Let the longest-waiting request retry; it wakes the next if there is more capacity."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _unreachable(self, endpoints: list[Endpoint]) -> BackendUnavailable:
        errors = [endpoint.error for endpoint in endpoints]
        text = "; ".join(dict.fromkeys(str(error) for error in errors))
        may_retry = any(isinstance(error, SafeToRetry) for error in errors)
        return SafeToRetry(text) if may_retry else BackendUnavailable(text)
