"""Token generation through Triton: one request, one gRPC stream, chunks of token ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial

from enginix.errors import (
    BackendTimedOut,
    BackendUnavailable,
    GenerationFailed,
    SafeToRetry,
    UsageError,
)
from enginix.generation.limits import Limits
from enginix.generation.request import Guide, Headers, Sampling, TokenChunk, TokenRequest
from enginix.triton.client.address import Address, parse_addresses
from enginix.triton.client.control import TritonControl
from enginix.triton.client.grpc_aio import GrpcAioTransport
from enginix.triton.client.http2.channel import Http2Transport
from enginix.triton.client.messages import build_request, build_stop, supported
from enginix.triton.client.responses import Layouts, Reader
from enginix.triton.client.tensor_names import TensorNames, TensorNamesOfModel
from enginix.triton.client.transport import Call, Transport

__all__ = ["Guide", "Limits", "Sampling", "TokenChunk", "TokenRequest", "TritonClient"]

TRANSPORTS: dict[str, Callable[[tuple[Address, ...], Limits], Transport]] = {
    "http2": Http2Transport,
    "grpc-aio": GrpcAioTransport,
}
DEFAULT_TRANSPORT = "http2"
ATTEMPTS = 3


class TritonClient:
    """Generates with one model of one Triton, or of several that serve the same model.

    Belongs to the event loop it was created in. `vocabulary` is the width of the model's logits,
    needed for logit_bias only. Without `tensor_names` the client queries the server for them.
    """

    def __init__(
        self,
        address: str,
        model: str = "tensorrt_llm",
        *,
        transport: str = DEFAULT_TRANSPORT,
        limits: Limits | None = None,
        vocabulary: int | None = None,
        tensor_names: TensorNames | None = None,
    ) -> None:
        self.address = address
        self.model = model
        self._limits = limits or Limits()
        self._vocabulary = vocabulary
        addresses = parse_addresses(address)
        if transport not in TRANSPORTS:
            raise UsageError(f"no transport {transport!r}; known: {', '.join(TRANSPORTS)}")
        self._transport = TRANSPORTS[transport](addresses, self._limits)
        self._controls = [TritonControl(one) for one in addresses]
        self._tensor_names = TensorNamesOfModel(self._controls, model, tensor_names)
        self._layouts = Layouts()

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        """Yield every chunk that has arrived since the last item; closing the generator cancels.

        Iterate inside `contextlib.aclosing`. Raises BackendUnavailable, BackendTimedOut or
        GenerationFailed; RequestError for an option the model has no tensor for.
        """
        tensor_names = await self.tensor_names()
        request_id, take, lane = request.request_id, request.take, request.lane
        reader = Reader(request_id, self._layouts)
        call, chunks = await self._start(request, tensor_names, reader)
        offer = None if take is None else reader.offering(take, lane)
        # It holds the prompt.
        del request, take
        complete = False
        try:
            while chunks:
                if chunks[-1].final:
                    complete = True
                    call.release()
                yield chunks
                if complete:
                    return
                if reader.failure is not None:
                    raise reader.failure
                # Usually the last: what comes until then is taken.
                del chunks
                messages = await call.receive(self._limits.next_token, offer, lane)
                chunks = reader.read(messages)
            raise GenerationFailed(
                f"Triton at {self.address} ended the stream before the last token"
            )
        except TimeoutError:
            raise self._timed_out(self._limits.next_token) from None
        finally:
            if not complete:
                call.leave(build_stop(request_id, tensor_names))

    @property
    def late_tokens(self) -> int:
        """How many tokens the model still sent for cancelled requests."""
        return self._transport.late_messages

    async def tensor_names(self) -> TensorNames:
        """The model's tensors, queried again when they may have changed."""
        return await self._tensor_names.current()

    async def supported(self) -> frozenset[str]:
        """The names of the Sampling fields that this model accepts."""
        return supported(await self.tensor_names())

    @property
    def control(self) -> TritonControl:
        """Management calls to the first server."""
        return self._controls[0]

    async def close(self) -> None:
        self._tensor_names.close()
        await self._transport.close()
        for control in self._controls:
            await control.close()

    async def _start(
        self, request: TokenRequest, tensor_names: TensorNames, reader: Reader
    ) -> tuple[Call, list[TokenChunk]]:
        """Send the request and wait for its first chunks; retry elsewhere until there are some."""
        message = build_request(request, tensor_names, self._vocabulary)
        stop = partial(build_stop, request.request_id, tensor_names)
        metadata = sampled(request.trace)
        until = asyncio.get_running_loop().time() + self._limits.first_token
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(message, stop, until, metadata, reader)
            except BackendUnavailable as error:
                # After a restart it may be another version of the model.
                self._tensor_names.invalidate()
                may_retry = isinstance(error, SafeToRetry) or self._transport.several
                if attempt == ATTEMPTS or not may_retry:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        message: bytes,
        stop: Callable[[], bytes | None],
        until: float,
        metadata: Headers,
        reader: Reader,
    ) -> tuple[Call, list[TokenChunk]]:
        call = None
        try:
            async with asyncio.timeout_at(until):
                call = await self._transport.open(message, metadata)
            left = until - asyncio.get_running_loop().time()
            return call, reader.read(await call.receive(left))
        except BaseException as error:
            if call is not None:
                call.leave(stop())
            if isinstance(error, TimeoutError):
                raise self._timed_out(self._limits.first_token) from None
            raise

    def _timed_out(self, limit: float) -> BackendTimedOut:
        return BackendTimedOut(
            f"no token of {self.model!r} from Triton at {self.address} within {limit:.3g} s"
        )


def sampled(trace: Headers) -> Headers:
    """The context of a trace, if it is recorded: Triton would record any that it is told of."""
    for name, value in trace:
        if name == "traceparent" and int(value[-2:], 16) & 1:
            return trace
    return ()
