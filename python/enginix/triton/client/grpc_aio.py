"""The second transport: the same stream through grpc.aio, as a reference to measure against."""

from __future__ import annotations

import asyncio
from itertools import cycle
from math import inf
from typing import Any

import grpc

from enginix.errors import BackendError, BackendTimedOut
from enginix.generation.lane import Lane
from enginix.generation.limits import Limits
from enginix.generation.request import Headers
from enginix.triton.client.address import Address
from enginix.triton.client.deadline import Deadlines
from enginix.triton.client.failures import from_status, unreachable
from enginix.triton.client.transport import Offer

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"


def channel_options(limits: Limits) -> list[tuple[str, Any]]:
    milliseconds = 1000
    return [
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", int(limits.first_backoff * milliseconds)),
        ("grpc.min_reconnect_backoff_ms", int(limits.first_backoff * milliseconds)),
        ("grpc.max_reconnect_backoff_ms", int(limits.last_backoff * milliseconds)),
    ]


class GrpcAioTransport:
    """One channel per address; gRPC itself balances over the addresses behind one name."""

    def __init__(self, addresses: tuple[Address, ...], limits: Limits) -> None:
        self._channels = [
            (str(address), grpc.aio.insecure_channel(str(address), channel_options(limits)))
            for address in addresses
        ]
        self._methods = cycle(
            [(server, channel.stream_stream(METHOD)) for server, channel in self._channels]
        )
        # gRPC drops them without reporting it.
        self.late_messages = 0
        self._calls: set[GrpcAioCall] = set()
        self._deadlines = Deadlines(self._calls)

    @property
    def several(self) -> bool:
        return len(self._channels) > 1

    async def open(self, message: bytes, metadata: Headers = ()) -> GrpcAioCall:
        server, method = next(self._methods)
        call = method(metadata=metadata)
        try:
            await call.write(message)
            await call.done_writing()
        except grpc.aio.AioRpcError as error:
            raise _translated(error, server) from None
        except asyncio.CancelledError:
            call.cancel()
            raise
        except asyncio.InvalidStateError:
            # The call ended before the request was written; its status says why.
            raise from_status(
                (await call.code()).value[0], await call.details() or "", server
            ) from None
        return GrpcAioCall(call, server, self._calls, self._deadlines)

    async def close(self) -> None:
        self._deadlines.close()
        for _, channel in self._channels:
            await channel.close()


class GrpcAioCall:
    def __init__(
        self, call: Any, server: str, calls: set[GrpcAioCall], deadlines: Deadlines
    ) -> None:
        self._call = call
        self._server = server
        self._late = False
        self._calls = calls
        self._deadlines = deadlines
        self.due = inf
        calls.add(self)

    def expired(self) -> None:
        self._late = True
        self._call.cancel()

    async def receive(
        self, limit: float, offer: Offer | None = None, lane: Lane | None = None
    ) -> list[bytes]:
        # Its reads wake this task in any case.
        self._deadlines.start(self, limit)
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _translated(error, self._server) from None
        except asyncio.CancelledError:
            # grpc.aio reports a call's cancellation as the cancellation of the task that reads it.
            if self._late:
                raise TimeoutError from None
            raise
        finally:
            self.due = inf
        return [] if message is grpc.aio.EOF else [message]

    def leave(self, stop: bytes | None) -> None:
        self._calls.discard(self)
        self._call.cancel()

    def release(self) -> None:
        self._calls.discard(self)


def _translated(error: grpc.aio.AioRpcError, server: str) -> BackendError:
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
        return unreachable(server, details.rpartition(": ")[2])
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BackendTimedOut(f"Triton at {server} took too long: {details}")
    return from_status(error.code().value[0], details, server)
