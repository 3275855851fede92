"""One gateway in front of the session's Triton."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import RunningTriton
from tests.end_to_end.gateway_process import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def gateway(triton_server: RunningTriton) -> Iterator[RunningGateway]:
    with running_gateway(triton_server.engine, triton_server.grpc) as running:
        yield running
