"""Runs a Triton for one engine: ready within a deadline or explained, and gone without a trace."""

from __future__ import annotations

import asyncio
import logging
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from enginix.errors import StartFailed
from enginix.process import Output, describe_exit, require_port_free, started
from enginix.triton.command import ServerOptions

logger = logging.getLogger(__name__)

READY_POLL = 0.05
# Triton counts down its own exit timeout first; killing is for a server that does not even do that.
GRACE_BEYOND_EXIT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Launch:
    """A server's command line and environment, and how long it may take, in seconds."""

    command: list[str]
    environment: Mapping[str, str]
    options: ServerOptions
    deadline: float = 120.0


def require_ports_free(options: ServerOptions) -> None:
    require_port_free(options.host, options.http_port, "--http-port")
    require_port_free(options.host, options.grpc_port, "--grpc-port")
    require_port_free(options.host, options.metrics_port, "--metrics-port")


@asynccontextmanager
async def launched(
    launch: Launch, is_ready: Callable[[], Awaitable[bool]], *, output: Output = None
) -> AsyncIterator[Process]:
    """The server, once it is ready; its whole tree is gone when the block ends.

    Raises StartFailed when it ends before, or when the deadline passes: a stub that cannot start
    makes tritonserver wait for ever and ignore SIGINT.
    """
    grace = launch.options.exit_timeout + GRACE_BEYOND_EXIT_TIMEOUT
    async with started(
        launch.command, env=launch.environment, stdout=output, stderr=output, grace=grace
    ) as server:
        try:
            async with asyncio.timeout(launch.deadline):
                await _until_ready(server, is_ready)
        except TimeoutError:
            server.kill()
            raise StartFailed(
                f"Triton was not ready within {launch.deadline:g} s and was killed; its log says "
                "what it waited for (more of it with --log-verbose 1)"
            ) from None
        yield server


async def _until_ready(server: Process, is_ready: Callable[[], Awaitable[bool]]) -> None:
    while not await is_ready():
        if server.returncode is not None:
            raise StartFailed(
                f"Triton {describe_exit(server.returncode)} before it was ready; its log says why"
            )
        await asyncio.sleep(READY_POLL)
