"""Triton's management calls: a model's configuration, loading and unloading."""

from __future__ import annotations

from typing import Any

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from enginix.errors import BackendError, BackendUnavailable
from enginix.triton.client.address import Address
from enginix.triton.client.failures import from_status, unreachable
from enginix.triton.client.tensor_names import TensorNames

SECONDS = 10.0
LOAD_SECONDS = 600.0
# By default a channel that lost its server waits up to two minutes before it reconnects; a replica
# is back as soon as it is reached.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
STATUS = {str(code): code.value[0] for code in grpc.StatusCode}


class TritonControl:
    """Triton's management calls to one server."""

    def __init__(self, address: Address) -> None:
        self._server = str(address)
        self._client = InferenceServerClient(self._server, channel_args=CHANNEL)

    async def config(self, model: str) -> Any:
        """The model's ModelConfig message."""
        return (await self._call(self._client.get_model_config, model)).config

    async def tensor_names(self, model: str) -> TensorNames:
        config = await self.config(model)
        return TensorNames(
            model=model,
            inputs=frozenset(tensor.name for tensor in config.input),
            outputs=frozenset(tensor.name for tensor in config.output),
        )

    async def metadata(self, model: str) -> Any:
        return await self._call(self._client.get_model_metadata, model)

    async def ready(self, model: str) -> bool:
        """Triton's own view; it stays true when the model's process is dead."""
        return bool(await self._call(self._client.is_model_ready, model))

    async def load(self, model: str) -> None:
        await self._call(self._client.load_model, model, seconds=LOAD_SECONDS)

    async def unload(self, model: str) -> None:
        await self._call(self._client.unload_model, model, seconds=LOAD_SECONDS)

    async def close(self) -> None:
        await self._client.close()

    async def _call(self, method: Any, model: str, seconds: float = SECONDS) -> Any:
        try:
            return await method(model, client_timeout=seconds)
        except InferenceServerException as error:
            raise self._translated(error) from None

    def _translated(self, error: InferenceServerException) -> BackendError:
        text = error.message() or ""
        status = STATUS.get(error.status() or "", 2)
        if "failed to connect" in text:
            return unreachable(self._server, text.rpartition(": ")[2])
        if status == grpc.StatusCode.NOT_FOUND.value[0]:
            return BackendUnavailable(f"Triton at {self._server} does not have the model: {text}")
        return from_status(status, text, self._server)
