"""Token generation through Triton: one request, one gRPC stream, chunks of token ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from enginix.errors import (
    BackendTimedOut,
    BackendUnavailable,
    GenerationFailed,
    SafeToRetry,
    UsageError,
)
from enginix.generation.limits import Limits
from enginix.generation.request import Guide, Sampling, TokenChunk, TokenRequest
from enginix.triton.client.address import Address, parse_addresses
from enginix.triton.client.control import TritonControl
from enginix.triton.client.grpc_aio import GrpcAioTransport
from enginix.triton.client.http2.channel import Http2Transport
from enginix.triton.client.messages import Reader, build_request, supported
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

    Belongs to the event loop it was made in. `vocabulary` is the width of the model's logits,
    needed for logit_bias only. A `dialect` that is given is not asked for.
    """

    def __init__(
        self,
        address: str,
        model: str = "tensorrt_llm",
        *,
        transport: str = DEFAULT_TRANSPORT,
        limits: Limits | None = None,
        vocabulary: int | None = None,
        dialect: TensorNames | None = None,
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
        self._dialects = TensorNamesOfModel(self._controls, model, dialect)

    async def generate(self, request: TokenRequest) -> AsyncGenerator[list[TokenChunk], None]:
        """Every item holds all chunks that had arrived; closing it cancels at once.

        Iterate inside `contextlib.aclosing`. Raises BackendUnavailable, BackendTimedOut or
        GenerationFailed; RequestError for an option the model has no tensor for.
        """
        message = build_request(request, await self.dialect(), self._vocabulary)
        call, chunks, reader = await self._begin(message)
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
                chunks = reader.read(await call.receive(self._limits.next_token))
            raise GenerationFailed(
                f"Triton at {self.address} ended the stream before the answer's last token"
            )
        except TimeoutError:
            raise self._late(self._limits.next_token) from None
        finally:
            if not complete:
                call.cancel()

    @property
    def late_tokens(self) -> int:
        """How many the model still sent for requests that had been cancelled."""
        return self._transport.late_messages

    async def dialect(self) -> TensorNames:
        """The model's tensors, asked for when they may have changed."""
        return await self._dialects.current()

    async def supported(self) -> frozenset[str]:
        """The names of the Sampling fields this model can follow."""
        return supported(await self.dialect())

    @property
    def control(self) -> TritonControl:
        """The first server's management calls."""
        return self._controls[0]

    async def close(self) -> None:
        self._dialects.close()
        await self._transport.close()
        for control in self._controls:
            await control.close()

    async def _begin(self, message: bytes) -> tuple[Call, list[TokenChunk], Reader]:
        """Send the request and wait for its first chunks; again elsewhere while it has none."""
        until = asyncio.get_running_loop().time() + self._limits.first_token
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(message, until)
            except BackendUnavailable as error:
                # The model that comes back may be a newer one.
                self._dialects.invalidate()
                again = isinstance(error, SafeToRetry) or self._transport.several
                if attempt == ATTEMPTS or not again:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, message: bytes, until: float) -> tuple[Call, list[TokenChunk], Reader]:
        call = None
        try:
            async with asyncio.timeout_at(until):
                call = await self._transport.open(message)
            reader = Reader()
            left = until - asyncio.get_running_loop().time()
            return call, reader.read(await call.receive(left)), reader
        except BaseException as error:
            if call is not None:
                call.cancel()
            if isinstance(error, TimeoutError):
                raise self._late(self._limits.first_token) from None
            raise

    def _late(self, limit: float) -> BackendTimedOut:
        return BackendTimedOut(
            f"no token of {self.model!r} from Triton at {self.address} within {limit:.3g} s"
        )
