"""Two gateways behind the real Envoy: streams, gateways that die, stop or freeze."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.chat_server import CHAT, DONE, Asked, ChatServer, completion, texts

from tests.deploy.real_envoy import RunningEnvoy, needs_envoy, running_envoy, until
from tests.end_to_end.gateway_process import RunningGateway, models_gateway

pytestmark = needs_envoy

WORDS = ["The", " capital", " of", " France", " is", " Paris", "."]
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "What is the capital?"}]}
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "theirs",
    "system_fingerprint": None,
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": "".join(WORDS), "refusal": None},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8},
}


class HeldServer(ChatServer):
    """Whole answers come at once; streams hold after their third event until `go`.

    With `silent` they hold before their first byte.
    """

    def __init__(self) -> None:
        super().__init__()
        stream = completion(*texts(*WORDS))
        whole = json.dumps(ANSWER).encode()
        self.routes = {
            CHAT: lambda asked: stream if asked.get("stream") else whole,
            "/v1/completions": self._probe,
        }
        self.stays_after = 3
        self.silent = False
        self.go = asyncio.Event()

    def _probe(self, _: Asked) -> bytes:
        return b'{"choices": [{"text": "Hi"}]}'

    async def _stream(
        self, events: Sequence[bytes], writer: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> None:
        if self.silent:
            await self.go.wait()
            self.stays_after = None
        await super()._stream(events, writer, reader)

    async def _wait_until_left(self, reader: asyncio.StreamReader) -> None:
        await self.go.wait()
        self.stays_after = None


@dataclass(frozen=True)
class Bed:
    server: HeldServer
    gateways: list[RunningGateway]
    envoy: RunningEnvoy
    client: httpx.AsyncClient

    async def ask(self, length: int = 20) -> httpx.Response:
        question = {**QUESTION, "messages": [{"role": "user", "content": "?" * length}]}
        return await self.client.post("/v1/chat/completions", json=question)

    async def out_after(self, gateway: RunningGateway) -> float:
        """Seconds until Envoy sends the gateway nothing more."""
        address = gateway.url.removeprefix("http://")

        async def is_out() -> bool:
            return address not in await self.envoy.healthy()

        return await until(is_out, 30)


@contextmanager
def two_gateways(models: Path, *flags: str) -> Iterator[list[RunningGateway]]:
    """The flags are the first one's."""
    with models_gateway(models, *flags) as one, models_gateway(models) as other:
        yield [one, other]


@pytest.fixture
async def bed(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    """The first gateway has the flags that are the fixture's parameter."""
    server = HeldServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    models = tmp_path / "models.json"
    row = {"name": "m", "url": f"http://127.0.0.1:{port}", "upstream": "theirs", "engine": "vllm"}
    models.write_text(json.dumps({"models": [row]}))
    try:
        with two_gateways(models, *getattr(request, "param", ())) as gateways:
            addresses = [gateway.url.removeprefix("http://") for gateway in gateways]
            async with (
                running_envoy(*addresses) as envoy,
                httpx.AsyncClient(base_url=envoy.url, trust_env=False, timeout=20) as client,
            ):
                yield Bed(server, gateways, envoy, client)
    finally:
        listening.close()
        await server.close()


@asynccontextmanager
async def held_stream(bed: Bed) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of a stream whose first word has come."""
    request: dict[str, Any] = {"json": {**QUESTION, "stream": True}}
    async with bed.client.stream("POST", "/v1/chat/completions", **request) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        async for line in lines:
            if '"The"' in line:
                break
        yield lines


def running(gateway: RunningGateway) -> int:
    metrics = httpx.get(f"{gateway.url}/metrics").text
    found = re.search(r'^enginix_running_requests\{model="m"\} (\d+)', metrics, re.M)
    assert found, metrics
    return int(found[1])


async def test_a_token_passes_before_the_next_is_generated(bed: Bed) -> None:
    async with held_stream(bed) as lines:
        bed.server.go.set()
        rest = [line async for line in lines]
    assert DONE.decode().strip() in rest
    assert sum('"content"' in line for line in rest) == len(WORDS) - 1


async def test_streams_go_to_the_gateway_with_the_least_of_them(bed: Bed) -> None:
    async with held_stream(bed), held_stream(bed), held_stream(bed), held_stream(bed):
        assert [running(gateway) for gateway in bed.gateways] == [2, 2]


async def test_no_request_fails_when_a_gateway_is_killed(bed: Bed) -> None:
    killed = bed.gateways[0]
    killed.process.kill()
    leaving = asyncio.create_task(bed.out_after(killed))
    while not leaving.done():
        assert (await bed.ask()).status_code == 200
    assert await leaving < 3
    assert (await bed.ask()).json()["choices"] == ANSWER["choices"]


async def test_requests_that_wait_for_their_first_byte_are_sent_again(bed: Bed) -> None:
    bed.server.silent = True
    streamed = {**QUESTION, "stream": True}
    requests: list[asyncio.Task[httpx.Response]] = []
    # One after the other: of two at once, each may be the first to the same gateway.
    for count in (1, 2):
        asked = bed.client.post("/v1/chat/completions", json=streamed)
        requests.append(asyncio.create_task(asked))

        async def all_wait(count: int = count) -> bool:
            return sum(map(running, bed.gateways)) == bed.server.running == count

        await until(all_wait, 30)
    assert [running(gateway) for gateway in bed.gateways] == [1, 1]
    bed.gateways[0].process.kill()
    bed.server.go.set()
    for response in await asyncio.gather(*requests):
        assert response.status_code == 200
        assert DONE.decode() in response.text


async def test_no_request_fails_when_a_gateway_is_stopped(bed: Bed) -> None:
    stopped = bed.gateways[0]
    async with held_stream(bed) as one, held_stream(bed) as other:
        stopped.process.terminate()
        leaving = asyncio.create_task(bed.out_after(stopped))
        while not leaving.done():
            # Longer than what Envoy keeps for another try by default.
            assert (await bed.ask(length=2 << 20)).status_code == 200
        assert await leaving < 3
        bed.server.go.set()
        for lines in (one, other):
            assert DONE.decode().strip() in [line async for line in lines]
    assert stopped.process.wait(10) == 0


@pytest.mark.parametrize("bed", [("--shutdown-delay=60",)], indirect=True)
async def test_no_request_is_even_tried_twice_when_a_gateway_is_stopped_with_a_delay(
    bed: Bed,
) -> None:
    stopped = bed.gateways[0]
    async with held_stream(bed) as one, held_stream(bed) as other:
        stopped.process.terminate()
        leaving = asyncio.create_task(bed.out_after(stopped))
        while not leaving.done():
            assert {one.status_code for one in await asyncio.gather(bed.ask(), bed.ask())} == {200}
        assert await bed.envoy.retries() == 0
        async with httpx.AsyncClient(base_url=stopped.url, trust_env=False) as client:
            ready = await client.get("/readyz")
            late = await client.post("/v1/chat/completions", json=QUESTION)
        assert (ready.status_code, ready.json()) == (503, {"status": "stopping"})
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        bed.server.go.set()
        for lines in (one, other):
            assert DONE.decode().strip() in [line async for line in lines]
    assert stopped.process.poll() is None
    stopped.process.terminate()
    assert stopped.process.wait(10) == 0


async def test_a_frozen_gateway_gets_no_more_requests_and_gets_them_again_when_it_runs(
    bed: Bed,
) -> None:
    frozen = bed.gateways[0]
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        # It takes 2.5 s, and more on a busy machine.
        assert await bed.out_after(frozen) < 4
        for _ in range(4):
            assert (await bed.ask()).status_code == 200
    finally:
        frozen.process.send_signal(signal.SIGCONT)

    async def both_are_in() -> bool:
        return len(await bed.envoy.healthy()) == 2

    await until(both_are_in, 30)


async def test_without_any_gateway_the_error_is_one_that_clients_read(bed: Bed) -> None:
    for gateway in bed.gateways:
        gateway.process.kill()
        await bed.out_after(gateway)
    failures: list[httpx.Response] = []

    async def all_threads_know() -> bool:
        failures.append(await bed.ask())
        return failures[-1].json()["error"]["message"] == "Envoy: no healthy upstream"

    await until(all_threads_know, 30)
    assert {response.status_code for response in failures} == {503}


async def test_envoy_itself_stops_without_breaking_a_stream(bed: Bed) -> None:
    admin = httpx.AsyncClient(base_url=bed.envoy.admin, trust_env=False)
    async with admin, held_stream(bed) as lines:
        await admin.post("/drain_listeners")
        async with httpx.AsyncClient(trust_env=False) as newcomer:
            with pytest.raises(httpx.ConnectError):
                await newcomer.get(f"{bed.envoy.url}/livez")
        bed.server.go.set()
        assert DONE.decode().strip() in [line async for line in lines]
        await admin.post("/quitquitquit")
    assert bed.envoy.process.wait(10) == 0
