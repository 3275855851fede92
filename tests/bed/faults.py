"""One host of several fails under load and is mended: what clients see, and for how long.

What spreads the requests is a `Front`: the real Envoy before gateways, or a gateway before Tritons.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import httpx

from benchmarks.soaking.client import Asker
from benchmarks.soaking.judgement import Ended
from benchmarks.soaking.load import Record, note
from benchmarks.soaking.questions import CHAT, questions, user
from tests.bed.programs import Node
from tests.deploy.real_envoy import until

PATIENCE = 60.0
# After a fault and after its repair the load goes on for so many right answers.
MORE = 40
# It generates until it is stopped.
LONG = {
    "model": "demo",
    "messages": user("Count to one hundred."),
    "temperature": 0,
    "seed": 1,
    "ignore_eos": True,
    "stream": True,
}


class Front(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def pid(self) -> int: ...

    async def serving(self) -> set[str]:
        """The addresses of the hosts that it sends requests to."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inject: Callable[[Node], None]
    repair: Callable[[Node], None]
    outlasts_streams: bool = False
    """The repair waits until every long stream has ended."""


def kill_triton(node: Node) -> None:
    node.triton.send(signal.SIGKILL, "tritonserver")


def freeze_triton(node: Node) -> None:
    node.triton.send(signal.SIGSTOP, "tritonserver")


def thaw_triton(node: Node) -> None:
    node.triton.send(signal.SIGCONT, "tritonserver")


KILL_TRITON = Fault("kill -9 a Triton", kill_triton, lambda node: node.triton.start_again())
FREEZE_TRITON = Fault("SIGSTOP a Triton", freeze_triton, thaw_triton)
KILL_GATEWAY = Fault(
    "kill -9 a gateway",
    lambda node: node.gateway.send(signal.SIGKILL),
    lambda node: node.gateway.start_again(),
)
STOP_GATEWAY = Fault(
    "SIGTERM a gateway",
    lambda node: node.gateway.send(signal.SIGTERM),
    lambda node: node.gateway.start_again(),
)
FREEZE_GATEWAY = Fault(
    "SIGSTOP a gateway",
    lambda node: node.gateway.send(signal.SIGSTOP),
    lambda node: node.gateway.send(signal.SIGCONT),
)
CUT_OFF = Fault(
    "a host's cable is pulled",
    lambda node: node.host.cut_off(),
    lambda node: node.host.connect(),
)
STAY_CUT_OFF = replace(CUT_OFF, name=f"{CUT_OFF.name} for good", outlasts_streams=True)


@dataclass
class Stream:
    """A long answer, as far as it has come."""

    text: str = ""
    end: str = "open"
    """Then `whole`, `error` (told in its last event) or `broken`."""
    ended_at: float = 0.0


@dataclass
class Seen:
    """What came of one fault; times are those of `time.monotonic`, or seconds."""

    requests: list[Ended]
    streams: list[Stream]
    on_hit: int
    """How many of the streams ran on the host that the fault is to hit."""
    hit_at: float = 0.0
    out: float = 0.0
    """Seconds from the fault until the host got no more requests."""
    back: float = 0.0
    """Seconds from the end of the repair until it got them again."""

    @property
    def failed(self) -> list[Ended]:
        """Those that broke, or were answered wrongly."""
        return [each for each in self.requests if each.wrong and not _is_refusal(each)]

    @property
    def refused(self) -> list[Ended]:
        """503 before anything was generated: OpenAI's clients repeat the request."""
        return [each for each in self.requests if _is_refusal(each)]

    def ends(self) -> Counter[str]:
        return Counter(stream.end for stream in self.streams)

    def told_after(self) -> float:
        """Seconds until the last client of a failed long stream knew."""
        failed = (each.ended_at for each in self.streams if each.end != "whole")
        return max(failed, default=self.hit_at) - self.hit_at


def _is_refusal(request: Ended) -> bool:
    return (request.wrong or "").startswith("status 503")


async def read_stream(client: httpx.AsyncClient, tokens: int, stream: Stream) -> None:
    body = {**LONG, "min_tokens": tokens, "max_tokens": tokens}
    try:
        async with client.stream("POST", CHAT, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    _read_event(line.removeprefix("data: "), stream)
        if stream.end == "open":
            stream.end = "broken"
    except httpx.HTTPError:
        stream.end = "broken"
    stream.ended_at = time.monotonic()


def _read_event(data: str, stream: Stream) -> None:
    if data == "[DONE]":
        stream.end = "whole" if stream.end == "open" else stream.end
        return
    event: dict[str, Any] = json.loads(data)
    if "error" in event:
        stream.end = "error"
    for choice in event.get("choices", ()):
        delta = choice["delta"]
        stream.text += (delta.get("reasoning_content") or "") + (delta.get("content") or "")


def long_answer(node: Node, tokens: int) -> str:
    """Of one host alone, and not streamed: what every long stream must say."""
    body = {**LONG, "min_tokens": tokens, "max_tokens": tokens, "stream": False}
    answer = httpx.post(f"http://{node.http}{CHAT}", json=body, timeout=PATIENCE, trust_env=False)
    message = answer.raise_for_status().json()["choices"][0]["message"]
    return (message.get("reasoning_content") or "") + (message["content"] or "")


async def running_in(triton: httpx.AsyncClient) -> int:
    """Requests that a Triton is working on, by its page of metrics."""
    metrics = (await triton.get("/metrics")).text
    found = re.search(r'nv_trt_llm_request_metrics\{[^}]*"active"[^}]*\} (\d+)', metrics)
    assert found, metrics
    return int(found[1])


async def on_last_of(tritons: Sequence[httpx.AsyncClient], streams: Sequence[Stream]) -> int:
    """Requests on the last one, once the pages of all together show every stream."""
    counts: list[int] = []

    # A Triton brings its page up to date ten times a second only.
    async def all_are_shown() -> bool:
        counts[:] = [await running_in(each) for each in tritons]
        return sum(counts) >= sum(each.end == "open" for each in streams)

    await until(all_are_shown, PATIENCE)
    return counts[-1]


@asynccontextmanager
async def long_streams(
    client: httpx.AsyncClient, count: int, tokens: int
) -> AsyncIterator[tuple[list[Stream], asyncio.Future[Any]]]:
    """Streams whose first tokens have come, and a future that is done with the last of them."""
    streams = [Stream() for _ in range(count)]
    reading = asyncio.gather(*(read_stream(client, tokens, each) for each in streams))

    async def all_have_begun() -> bool:
        return all(each.text or each.end != "open" for each in streams)

    try:
        await until(all_have_begun, PATIENCE)
        yield streams, reading
        await reading
    finally:
        reading.cancel()


class Load:
    """Short questions, streamed or not; each answer is compared with the one that is recorded."""

    def __init__(self, client: httpx.AsyncClient, at_once: int) -> None:
        self._client = client
        self._at_once = at_once
        self._asked = questions("demo")
        self.record = Record()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """One after the other in each of `at_once` places."""
        stopping = False

        async def ask_on(asker: Asker) -> None:
            while not stopping:
                kind = asker.chance.choice((Asker.whole, Asker.stream))
                question = asker.chance.choice(self._asked)
                await note(self.record, kind.__name__, kind, asker, question)

        async with asyncio.TaskGroup() as group:
            for number in range(self._at_once):
                group.create_task(ask_on(Asker(self._client, random.Random(number))))
            try:
                yield
            finally:
                stopping = True

    async def more(self) -> None:
        """Until so many more were right, in new places: all of the others may wait for one host."""
        first = len(self.record.requests)

        async def enough_were_right() -> bool:
            return sum(each.wrong is None for each in self.record.requests[first:]) >= MORE

        async with self.running():
            await until(enough_were_right, PATIENCE)


async def suffer(
    front: Front, nodes: Sequence[Node], fault: Fault, *, at_once: int, tokens: int
) -> Seen:
    """The fault on the last host, and its repair, while all hosts have long and short answers."""
    hit = nodes[-1]
    async with _busy(front, nodes, at_once, tokens) as (seen, reading, load):
        seen.hit_at = time.monotonic()
        await asyncio.to_thread(fault.inject, hit)
        seen.out = await until(lambda: _serves(front, hit, False), PATIENCE)
        await load.more()
        if fault.outlasts_streams:
            await reading
        await asyncio.to_thread(fault.repair, hit)
        seen.back = await until(lambda: _serves(front, hit, True), PATIENCE)
        await load.more()
    return seen


async def restart_gateways(
    front: Front, nodes: Sequence[Node], *, at_once: int, tokens: int
) -> Seen:
    """Of all hosts, one after the other, each once the one before it has requests again."""
    async with _busy(front, nodes, at_once, tokens) as (seen, _, load):
        seen.hit_at = time.monotonic()
        for node in nodes:
            await asyncio.to_thread(STOP_GATEWAY.inject, node)
            await asyncio.to_thread(STOP_GATEWAY.repair, node)
            await until(partial(_serves, front, node, True), PATIENCE)
            await load.more()
    return seen


@asynccontextmanager
async def _busy(
    front: Front, nodes: Sequence[Node], at_once: int, tokens: int
) -> AsyncIterator[tuple[Seen, asyncio.Future[Any], Load]]:
    """Two long streams for each host, and the load beside them; all of it ends with the block."""
    async with AsyncExitStack() as stack:
        client, *metrics = [
            await stack.enter_async_context(_client(url))
            for url in (front.url, *(node.metrics for node in nodes))
        ]
        # All that takes time comes first: the streams must still run when the fault comes.
        load = Load(client, at_once)
        async with long_streams(client, 2 * len(nodes), tokens) as (streams, reading):
            on_hit = await on_last_of(metrics, streams)
            async with load.running():
                yield Seen(load.record.requests, streams, on_hit), reading, load


async def _serves(front: Front, node: Node, expected: bool) -> bool:
    return (node.host.address in await front.serving()) == expected


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=999)
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False)
