"""One server address: its connection, opened on demand, and the backoff after a failure."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from enginix.errors import BackendError, BackendUnavailable, SafeToRetry
from enginix.generation.limits import Limits
from enginix.triton.client.failures import unreachable
from enginix.triton.client.http2.connection import Connection, Late
from enginix.triton.client.http2.resolver import Target

# A firewall that dropped an idle connection would let the next request wait in vain.
PROBE_AFTER_SECONDS, PROBE_EVERY_SECONDS, PROBES = 30, 10, 3


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel detect that an idle connection is dead."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


class Endpoint:
    """Holds at most one usable connection. Many requests can wait for one connection attempt."""

    def __init__(
        self, target: Target, limits: Limits, changed: Callable[[], None], late: Late
    ) -> None:
        self._late = late
        self._target = target
        self._limits = limits
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._not_before = 0.0
        self.error: BackendError = BackendUnavailable("never tried")

    @property
    def connection(self) -> Connection | None:
        """The connection for new requests, if there is one."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    def connect(self) -> asyncio.Task[None] | None:
        """The current attempt, started if needed; None during the backoff after a failure.

        The task never raises: when it ends there is a `connection`, or `error` says why not.
        """
        if self._connecting is None and self._loop.time() >= self._not_before:
            self._connecting = self._loop.create_task(self._connect())
        return self._connecting

    def retire(self) -> None:
        """Accept no new requests: the name no longer resolves to this address."""
        self._stop_connecting()
        if self._connection is not None:
            self._connection.retire()

    def close(self) -> None:
        self._stop_connecting()
        if self._connection is not None:
            self._connection.close(BackendUnavailable("this client was closed"))

    def _stop_connecting(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()

    async def _connect(self) -> None:
        connection = Connection(self._target.server, self._limits, self._changed, late=self._late)
        try:
            async with asyncio.timeout(self._limits.connect):
                transport, _ = await self._loop.create_connection(
                    lambda: connection, self._target.host, self._target.port
                )
                keep_alive(transport.get_extra_info("socket"))
                await connection.handshake_done()
        except TimeoutError:
            self._failed(connection, f"no answer within {self._limits.connect:g} s")
        except OSError as error:
            self._failed(connection, os.strerror(error.errno) if error.errno else str(error))
        except BackendError as error:
            self._failed(connection, error)
        except asyncio.CancelledError:
            self._failed(connection, "this client was closed")
            raise
        else:
            self._connection = connection
            self._failures = 0
            text = (
                f"Triton at {self._target.server} closed the connection right after the handshake"
            )
            self.error = SafeToRetry(text)
        finally:
            self._connecting = None

    def _failed(self, connection: Connection, why: BackendError | str) -> None:
        self.error = unreachable(self._target.server, why) if isinstance(why, str) else why
        connection.close(self.error)
        pause = self._limits.first_backoff * 2**self._failures
        self._not_before = self._loop.time() + min(pause, self._limits.last_backoff)
        self._failures = min(self._failures + 1, 16)
