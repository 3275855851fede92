"""Runs a Triton for one engine: ready by a deadline or an error, and cleaned up afterwards."""

from __future__ import annotations

import asyncio
import logging
from asyncio.subprocess import PIPE, STDOUT, Process
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from signal import SIGTERM

from enginix.errors import ProcessError, StartFailed, UsageError
from enginix.ports import require_port_free
from enginix.process import describe_exit, end_tree, kill, started
from enginix.triton.server.command import ServerOptions
from enginix.triton.server.mpi import CrashExcerpt, RankLine, RankLines, leader
from enginix.triton.server.nodes import Nodes, OnLine

logger = logging.getLogger(__name__)

READY_POLL = 0.05
# Triton enforces its own exit timeout first; we kill a server that does not even do that.
GRACE_BEYOND_EXIT_TIMEOUT = 5.0
# How long the last output of a server that has ended may take to arrive.
LAST_LINES_PATIENCE = 2.0
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Launch:
    """A server's command line and environment, and its start timeout in seconds.

    With `ranks` above 1 the command is mpirun's, and its output tags each line with its rank.
    """

    command: list[str]
    environment: Mapping[str, str]
    options: ServerOptions
    deadline: float = 120.0
    ranks: int = 1
    nodes: Nodes | None = None


class Server:
    """A ready server."""

    def __init__(
        self, process: Process, excerpt: CrashExcerpt | None, listening: asyncio.Task[None]
    ):
        self._process = process
        self._excerpt = excerpt
        self._listening = listening

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def ended(self) -> ProcessError:
        """Wait until the server ends, which was not requested, and return why."""
        return ProcessError(await self._explain(await self._process.wait(), ""))

    async def until_ready(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        while not await is_ready():
            if (code := self._process.returncode) is not None:
                raise StartFailed(await self._explain(code, " before it was ready"))
            await asyncio.sleep(READY_POLL)

    async def give_up(self, deadline: float) -> StartFailed:
        """Kill a server that is not ready in time: it may ignore every other signal."""
        await end_tree(self._process, grace=0)
        why = self._excerpt.describe() if self._excerpt else "its log says what it waited for"
        return StartFailed(
            f"Triton was not ready within {deadline:g} s and was killed (to wait longer: "
            f"--start-timeout; for more of its log: --log-verbose 1); {why}"
        )

    async def drain(self, grace: float) -> None:
        """Let rank 0 finish its requests, for which it needs the other ranks.

        mpirun would end all ranks at once, and handles no other signal meanwhile.
        """
        if self._excerpt is None or self._process.returncode is not None:
            return
        if pid := leader(self._process.pid):
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await kill(pid, SIGTERM)

    async def _explain(self, code: int, when: str) -> str:
        if self._excerpt is None:
            return f"Triton {describe_exit(code)}{when}; its log says why"
        await asyncio.wait([self._listening], timeout=LAST_LINES_PATIENCE)
        return f"Triton {_describe_mpirun(code)}{when}; {self._excerpt.describe()}"


def require_ports_free(options: ServerOptions) -> None:
    ports = {
        "--http-port": options.http_port,
        "--grpc-port": options.grpc_port,
        "--metrics-port": options.metrics_port,
    }
    for flag, port in ports.items():
        require_port_free(options.host, port, flag)
    flags: dict[int, str] = {}
    for flag, port in ports.items():
        if (other := flags.setdefault(port, flag)) != flag:
            raise UsageError(f"{other} and {flag} are both {port}; expected three ports")


@asynccontextmanager
async def launched(
    launch: Launch, is_ready: Callable[[], Awaitable[bool]], *, on_line: OnLine = logger.info
) -> AsyncIterator[Server]:
    """Yield the server once it is ready; end its whole process tree when the block ends.

    `on_line` receives the output lines of several ranks; a single server inherits our output.
    Raises StartFailed if it ends first or the deadline passes: with a stub that cannot start,
    tritonserver waits for ever and ignores SIGINT.
    """
    grace = launch.options.exit_timeout + GRACE_BEYOND_EXIT_TIMEOUT
    excerpt = CrashExcerpt() if launch.ranks > 1 else None
    async with (
        AsyncExitStack() as afterwards,
        started(
            launch.command,
            env=launch.environment,
            stdout=PIPE if excerpt else None,
            stderr=STDOUT if excerpt else None,
            grace=grace,
        ) as process,
    ):
        listening = asyncio.create_task(_listen(process.stdout, excerpt, on_line))
        # Read to the end, when no writer is left: the ranks' last lines explain a crash.
        afterwards.push_async_callback(_finish, listening)
        server = Server(process, excerpt, listening)
        try:
            async with asyncio.timeout(launch.deadline):
                await server.until_ready(is_ready)
        except TimeoutError:
            raise await server.give_up(launch.deadline) from None
        try:
            yield server
        finally:
            await asyncio.shield(server.drain(grace))


async def _finish(listening: asyncio.Task[None]) -> None:
    await asyncio.wait([listening], timeout=LAST_LINES_PATIENCE)
    listening.cancel()


async def _listen(
    stream: asyncio.StreamReader | None, excerpt: CrashExcerpt | None, on_line: OnLine
) -> None:
    if stream is None or excerpt is None:
        return
    decode = getincrementaldecoder("utf-8")("replace").decode
    ranks, rest = RankLines(), ""

    def hear_all(lines: list[RankLine]) -> None:
        for line in lines:
            excerpt.add(line)
            on_line(str(line))

    while data := await stream.read(CHUNK):
        *lines, rest = (rest + decode(data)).split("\n")
        for line in lines:
            hear_all(ranks.take(line))
    hear_all([*(ranks.take(rest) if rest else []), *ranks.end()])


def _describe_mpirun(code: int) -> str:
    """mpirun exits with its first rank's status, or 128 plus the number of a signal."""
    return describe_exit(128 - code if 128 < code < 160 else code)
