"""A client of the hostile server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest_asyncio

from enginix.triton.client.client import Limits, TritonClient
from enginix.triton.client.tensor_names import TensorNames

TENSOR_NAMES = TensorNames("model", frozenset({"input_ids"}), frozenset({"output_ids"}))


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[..., TritonClient]]:
    """Creates clients with short time limits, so that failures are fast."""
    async with AsyncExitStack() as clients:

        def make(address: str, **limits: float) -> TritonClient:
            short = {"first_token": 5.0, "next_token": 5.0, "connect": 2.0} | limits
            client = TritonClient(
                address, "model", tensor_names=TENSOR_NAMES, limits=Limits(**short)
            )
            clients.push_async_callback(client.close)
            return client

        yield make
