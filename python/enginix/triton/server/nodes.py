"""Several machines for the ranks of one engine: they join the one that leads.

The machine with rank 0 leads: it listens, and runs mpirun once all nodes have joined. mpirun starts
its daemon on another machine through `launch_agent.py`, in place of ssh: the command goes over the
connection that the node has opened, so no machine needs a key or an SSH server. Neither Open MPI
nor this asks who connects: use a network that only these machines can reach.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginix.errors import EngineMismatch, ProcessError, StartFailed
from enginix.ports import bracketed
from enginix.process import describe_exit, started
from enginix.triton.server import launch_agent

logger = logging.getLogger(__name__)

OnLine = Callable[[str], None]
Take = Callable[[StreamReader, StreamWriter], Coroutine[Any, Any, None]]

PORT = 8003
RETRY_SECONDS = 1.0
GRACE_SECONDS = 10.0
# On each node: its own model repository, and the prefix of its shared memory.
REPOSITORY, SHM_PREFIX = "ENGINIX_NODE_REPOSITORY", "ENGINIX_NODE_SHM_PREFIX"
# A machine that is gone closes no connection.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


@dataclass(frozen=True, slots=True)
class Nodes:
    """`number` machines with equally many ranks each."""

    number: int
    engine: str
    """The hash of the engine's manifest."""
    agent_socket: Path
    port: int = PORT
    leader: str | None = None
    """The address of the machine with rank 0; None on that machine."""

    def ranks_per_node(self, ranks: int) -> int:
        return ranks // self.number

    def placement(self, ranks: int) -> list[str]:
        """mpirun's options: which ranks are where, in their order, and how to reach the nodes."""
        each = self.ranks_per_node(ranks)
        agent = [sys.executable, "-I", "-S", launch_agent.__file__, str(self.agent_socket)]
        return [
            *("--host", ",".join(f"{name}:{each}" for name in ["localhost", *self.names()])),
            *("--mca", "plm_rsh_agent", " ".join(agent)),
            # Every daemon is started from here, and its agent stays until it ends.
            *("--mca", "plm_rsh_no_tree_spawn", "1", "--leave-session-attached"),
        ]

    def names(self) -> list[str]:
        """What mpirun calls the other machines, in the order in which they joined."""
        return [f"node{number}" for number in range(1, self.number)]


@dataclass(slots=True)
class _Node:
    writer: StreamWriter
    status: asyncio.Future[int | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """What its command ended with; None if the node has left."""


class _Leader:
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._joined: dict[str, _Node] = {}
        self._connections: dict[asyncio.Task[None], StreamWriter] = {}
        self._closed = False
        self.complete = asyncio.Event()
        self.first_to_leave = ""
        """The address of a node that is gone without a word."""

    @property
    def missing(self) -> int:
        return self._nodes.number - 1 - len(self._joined)

    def taking(self, take: Take) -> Take:
        """`take`, with a connection that is closed afterwards."""

        async def taken(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None, "it runs in a coroutine"
            self._connections[task] = writer
            try:
                await take(reader, writer)
            finally:
                writer.close()
                del self._connections[task]

        return taken

    async def close(self) -> None:
        """Close what nodes, and strangers, leave open for as long as we do."""
        self._closed = True
        tasks = list(self._connections)
        for writer in self._connections.values():
            writer.close()
        if tasks:
            await asyncio.wait(tasks)

    async def take_node(self, reader: StreamReader, writer: StreamWriter) -> None:
        _keep_alive(writer)
        address = writer.get_extra_info("peername")[0]
        why = self._refusal(await _received(reader))
        if why:
            logger.warning("refused node %s: %s", address, why)
            await _send(writer, {"refused": why})
            return
        name = next(name for name in self._nodes.names() if name not in self._joined)
        node = self._joined[name] = _Node(writer)
        logger.info(
            "node %s joined; %d of %d are missing", address, self.missing, self._nodes.number
        )
        if not self.missing:
            self.complete.set()
        status = (await _received(reader)).get("status")
        if status is None and not self._closed:
            logger.warning("node %s has left", address)
            self.first_to_leave = self.first_to_leave or address
        del self._joined[name]
        node.status.set_result(status)

    def _refusal(self, hello: Mapping[str, Any]) -> str:
        if hello.get("engine") != self._nodes.engine:
            return (
                "it has another engine: the SHA-256 of its manifest is "
                f"{str(hello.get('engine'))[:16]}, here {self._nodes.engine[:16]}; give all "
                "machines the same engine"
            )
        if hello.get("nodes") != self._nodes.number:
            return (
                f"it was started with --nodes {hello.get('nodes')}, expected {self._nodes.number}"
            )
        return "" if self.missing else f"all {self._nodes.number} nodes are here already"

    async def take_agent(self, reader: StreamReader, writer: StreamWriter) -> None:
        asked = await _received(reader)
        node = self._joined.get(str(asked.get("node")))
        if node is not None:
            await _send(node.writer, {"command": asked["command"]})
            await _send(writer, {"status": await node.status})


@asynccontextmanager
async def leading(nodes: Nodes, deadline: float, say: OnLine) -> AsyncIterator[None]:
    """All nodes have joined. Raises StartFailed if some have not by `deadline` seconds."""
    leader = _Leader(nodes)
    listening = await asyncio.start_server(leader.taking(leader.take_node), None, nodes.port)
    agents = await asyncio.start_unix_server(leader.taking(leader.take_agent), nodes.agent_socket)
    try:
        say(f"waiting for {leader.missing} nodes on port {nodes.port}")
        await _all_here(leader, nodes, deadline)
        yield
    except ProcessError as error:
        if leader.first_to_leave:
            raise ProcessError(f"node {leader.first_to_leave} has left: {error}") from error
        raise
    finally:
        # Python 3.12 and later would wait in `async with` until the others close.
        listening.close()
        agents.close()
        await leader.close()


async def _all_here(leader: _Leader, nodes: Nodes, deadline: float) -> None:
    try:
        async with asyncio.timeout(deadline):
            await leader.complete.wait()
    except TimeoutError:
        port = "" if nodes.port == PORT else f":{nodes.port}"
        raise StartFailed(
            f"{leader.missing} of {nodes.number} nodes have not joined within {deadline:g} s; "
            f"start `enginix triton ENGINE --nodes {nodes.number} --join THIS_MACHINE{port}` "
            "on each, or see its log"
        ) from None


async def follow(
    nodes: Nodes, environment: Mapping[str, str], deadline: float, say: OnLine
) -> None:
    """Join the leader, and run what it sends until it or that ends."""
    where = f"{bracketed(nodes.leader or '')}:{nodes.port}"
    try:
        async with asyncio.timeout(deadline):
            reader, writer = await _connected(nodes)
    except TimeoutError:
        raise StartFailed(
            f"nothing listens on {where} since {deadline:g} s; start `enginix triton ENGINE "
            f"--nodes {nodes.number}` there, and let this machine reach that port"
        ) from None
    _keep_alive(writer)
    await _send(writer, {"engine": nodes.engine, "nodes": nodes.number})
    say(f"joined {where}, which starts the ranks when all nodes are there")
    try:
        answer = await _received(reader)
        if "refused" in answer:
            raise EngineMismatch(f"{where} refuses this node: {answer['refused']}")
        if "command" not in answer:
            raise ProcessError(f"{where} has ended before it started ranks here; its log says why")
        say("this node runs its ranks now; Ctrl-C ends them")
        await _run(answer["command"], environment, reader, writer)
    finally:
        writer.close()


async def _run(
    command: str, environment: Mapping[str, str], reader: StreamReader, writer: StreamWriter
) -> None:
    async with started(["sh", "-c", command], env=environment, grace=GRACE_SECONDS) as child:
        ends = {asyncio.create_task(child.wait()), asyncio.create_task(_closed(reader))}
        _, running = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
        if child.returncode is None:
            raise ProcessError("the node with rank 0 is gone, so the ranks of this one are ended")
    await _send(writer, {"status": child.returncode})
    if child.returncode:
        raise ProcessError(
            "the ranks of this node ended: Open MPI's daemon "
            f"{describe_exit(child.returncode)}; the log of the node with rank 0 says why"
        )


async def _closed(reader: StreamReader) -> None:
    with suppress(OSError):
        await reader.read()


async def _connected(nodes: Nodes) -> tuple[StreamReader, StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection(nodes.leader, nodes.port)
        except OSError as error:
            logger.debug("%s:%d: %s", nodes.leader, nodes.port, error)
            await asyncio.sleep(RETRY_SECONDS)


def _keep_alive(writer: StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _send(writer: StreamWriter, message: Mapping[str, Any]) -> None:
    with suppress(OSError):
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()


async def _received(reader: StreamReader) -> dict[str, Any]:
    """The next message; empty if there is none, or if it is none: any program may connect."""
    with suppress(ValueError, OSError):
        if isinstance(message := json.loads(await reader.readline()), dict):
            return message
    return {}


def in_place(command: Sequence[str]) -> list[str]:
    """`command` with the variables in its words as the machine knows them that it runs on."""
    words = (re.sub(r'(["\\`])', r"\\\1", word) for word in command)
    return ["sh", "-c", "exec " + " ".join(f'"{word}"' for word in words)]
