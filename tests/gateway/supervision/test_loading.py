"""Models load on demand, and unload to make room for others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.otlp_receiver import otlp_receiver
from gateway.harness import events, server, user

from enginix.backends.openai.server import OpenAIBackend
from enginix.errors import BackendError
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.settings import LoadLimits, Settings, TraceSettings
from enginix.serve.control import control_socket
from enginix.serve.managed_model import ManagedModel
from enginix.serve.model_entry import ModelEntry
from enginix.serve.replicas import Replica, ReplicaGroup
from enginix.serve.restart import RestartingServer
from enginix.serve.scheduler import ModelScheduler
from enginix.serve.server_process import ServerSpec, State
from tests.conftest import free_ports

PROGRAM = Path(__file__).parents[2] / "fakes" / "wedged_server.py"
CHAT = "/v1/chat/completions"
LIMITS = LoadLimits(keep_awake=0.05, drain=20)
ON_DEMAND = ModelEntry("a", engine="vllm", on_demand=True, memory=0.6)


@dataclass
class Place:
    scheduler: ModelScheduler
    clients: list[httpx.AsyncClient]

    def state(self, name: str) -> State:
        return self.scheduler.models[name].server.state

    async def ask(self, name: str, gateway: int = 0, **more: Any) -> httpx.Response:
        body = {"model": name, "messages": user("Hi"), **more}
        return await self.clients[gateway].post(CHAT, json=body)

    @asynccontextmanager
    async def answering(self, name: str, gateway: int = 0) -> AsyncIterator[AsyncIterator[str]]:
        """A running stream that ends when it is read."""
        body = {"model": name, "messages": user("Hi"), "stream": True, "max_tokens": 50}
        async with self.clients[gateway].stream("POST", CHAT, json=body) as stream:
            lines = stream.aiter_lines()
            # The comments before it say that the model is being loaded.
            while not (await anext(lines)).startswith("data:"):
                pass
            yield lines


def managed_model(
    directory: Path, entry: ModelEntry, argv: list[str] | None = None
) -> ManagedModel:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    async def is_ready() -> bool:
        backend = OpenAIBackend("stand-in", url, entry.name)
        try:
            await backend.probe()
        except BackendError:
            return False
        finally:
            await backend.close()
        return True

    argv = argv or [sys.executable, str(PROGRAM), str(port)]
    log = directory / f"{entry.name}.log"
    restarting = RestartingServer(ServerSpec(entry.name, argv, log, is_ready, deadline=20))
    group = ReplicaGroup(entry.name, [Replica(url, restarting)])
    return ManagedModel(entry, group, {"name": entry.name, "url": url})


def model_of(row: Mapping[str, Any]) -> PassthroughModel:
    return PassthroughModel(row["name"], OpenAIBackend("stand-in", row["url"], "m"), "vllm")


@asynccontextmanager
async def place(
    *managed: ManagedModel,
    directory: Path,
    gateways: int = 1,
    rest: float = 0.0,
    drain: float = 20.0,
    known: bool = True,
    traces: TraceSettings | None = None,
) -> AsyncIterator[Place]:
    """A supervisor's socket, and gateways that know its models or learn of them."""
    scheduler = ModelScheduler(managed, rest=rest, drain=drain)
    socket = directory / "control"
    settings = Settings(load=LIMITS, supervisor=socket, traces=traces)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(scheduler.close)
        await stack.enter_async_context(control_socket(socket, scheduler))
        expiring = asyncio.create_task(scheduler.expire())
        stack.callback(expiring.cancel)
        clients = []
        for _ in range(gateways):
            models = [model_of(one.row) for one in managed] if known else []
            opener = lambda row: lambda: [model_of(row)]  # noqa: E731
            clients.append(
                await stack.enter_async_context(server(*models, settings=settings, opener=opener))
            )
        while len(scheduler.subscribers) < gateways:
            await clients[0].get("/livez")
        yield Place(scheduler, clients)


async def test_a_model_is_loaded_by_the_first_request_for_it(tmp_path: Path) -> None:
    async with place(managed_model(tmp_path, ON_DEMAND), directory=tmp_path) as here:
        assert here.state("a") is State.IDLE
        assert (await here.clients[0].get("/health")).status_code == 200
        answer = await here.ask("a")
        assert here.state("a") is State.LOADED
    assert answer.status_code == 200
    assert answer.json()["model"] == "a"


async def test_a_stream_begins_with_comments_while_its_model_is_loaded(tmp_path: Path) -> None:
    async with place(managed_model(tmp_path, ON_DEMAND), directory=tmp_path) as here:
        answer = await here.ask("a", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith(": a is being loaded\n\n")
    assert events(answer.text)[-1] == "[DONE]"
    assert events(answer.text)[0]["choices"]


async def test_loading_is_a_stage_of_a_requests_trace(tmp_path: Path) -> None:
    with otlp_receiver() as receiver:
        model, traces = managed_model(tmp_path, ON_DEMAND), TraceSettings(receiver.endpoint)
        async with place(model, directory=tmp_path, traces=traces) as here:
            assert (await here.ask("a", stream=True)).status_code == 200
    (span,) = receiver.servers
    stages = [stage.name for stage in receiver.stages(span)]
    assert stages == ["receive", "prepare", "load", "prepare", "queue", "first_token", "stream"]


async def test_many_requests_at_once_load_it_once(tmp_path: Path) -> None:
    async with place(managed_model(tmp_path, ON_DEMAND), directory=tmp_path) as here:
        answers = await asyncio.gather(*(here.ask("a") for _ in range(20)))
        restarts = here.scheduler.models["a"].server.replicas[0].server.restarts
    assert {answer.status_code for answer in answers} == {200}
    assert restarts == 0


async def test_a_model_that_does_not_fit_with_another_replaces_it(tmp_path: Path) -> None:
    both = [managed_model(tmp_path, replace(ON_DEMAND, name=name)) for name in "ab"]
    async with place(*both, directory=tmp_path) as here:
        for name, other in ("ab", "ba", "ab"):
            assert (await here.ask(name)).status_code == 200
            assert (here.state(name), here.state(other)) == (State.LOADED, State.IDLE)


async def test_models_that_fit_together_stay_loaded(tmp_path: Path) -> None:
    both = [managed_model(tmp_path, replace(ON_DEMAND, name=name, memory=0.5)) for name in "ab"]
    async with place(*both, directory=tmp_path) as here:
        await here.ask("a")
        await here.ask("b")
        assert (here.state("a"), here.state("b")) == (State.LOADED, State.LOADED)


@pytest.mark.parametrize("gateway", [0, 1])
async def test_no_model_is_taken_away_while_any_gateway_uses_it(
    tmp_path: Path, gateway: int
) -> None:
    both = [managed_model(tmp_path, replace(ON_DEMAND, name=name)) for name in "ab"]
    async with place(*both, directory=tmp_path, gateways=2) as here:
        async with here.answering("a", gateway) as lines:
            other = asyncio.create_task(here.ask("b"))
            while here.scheduler.models["a"].availability.value == "open":
                await here.clients[0].get("/livez")
            assert here.state("a") is State.LOADED
            rest = [line async for line in lines]
        assert rest[-2] == "data: [DONE]"
        assert (await other).status_code == 200
        assert here.state("a") is State.IDLE


async def test_a_model_in_use_beyond_the_deadline_stays_loaded(tmp_path: Path) -> None:
    both = [managed_model(tmp_path, replace(ON_DEMAND, name=name)) for name in "ab"]
    async with place(*both, directory=tmp_path, drain=0.3) as here:
        async with here.answering("a") as lines:
            refused = await here.ask("b")
            again = await here.ask("a")
            rest = [line async for line in lines]
        assert here.state("b") is State.IDLE
    assert refused.status_code == 503
    assert "which is in use by 1 requests" in refused.json()["error"]["message"]
    assert again.status_code == 200
    assert rest[-2] == "data: [DONE]"


async def test_a_model_that_was_just_loaded_rests_before_it_makes_room(tmp_path: Path) -> None:
    both = [managed_model(tmp_path, replace(ON_DEMAND, name=name)) for name in "ab"]
    async with place(*both, directory=tmp_path, rest=1.0) as here:
        await here.ask("a")
        since = here.scheduler.models["a"].server.replicas[0].server.process.since
        await here.ask("b")
        assert here.scheduler.models["a"].server.replicas[0].server.process.since - since >= 1.0


async def test_an_idle_model_is_unloaded_after_its_time_to_live(tmp_path: Path) -> None:
    entry = replace(ON_DEMAND, ttl_seconds=0.2)
    async with place(managed_model(tmp_path, entry), directory=tmp_path) as here:
        await here.ask("a")
        process = here.scheduler.models["a"].server.replicas[0].server.process
        while process.state is not State.IDLE:
            await process.change.wait()
        assert (await here.ask("a")).status_code == 200


async def test_a_model_in_use_outlives_its_time_to_live(tmp_path: Path) -> None:
    entry = replace(ON_DEMAND, ttl_seconds=0.1)
    async with (
        place(managed_model(tmp_path, entry), directory=tmp_path) as here,
        here.answering("a") as lines,
    ):
        rest = [line async for line in lines]
    assert rest[-2] == "data: [DONE]"


async def test_a_model_that_cannot_load_reports_its_last_lines_and_others_continue(
    tmp_path: Path,
) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no CUDA here')"]
    both = [
        managed_model(tmp_path, replace(ON_DEMAND, memory=0.1), broken),
        managed_model(tmp_path, replace(ON_DEMAND, name="b", memory=0.1)),
    ]
    async with place(*both, directory=tmp_path) as here:
        whole = await here.ask("a")
        stream = await here.ask("a", stream=True)
        status = (await here.clients[0].get("/v1/status")).json()["models"][0]
        other = await here.ask("b")
    assert whole.status_code == 503
    assert "no CUDA here" in whole.json()["error"]["message"]
    # As a status, or as the stream's last event where that had begun.
    assert "no CUDA here" in stream.text
    assert status["status"] == "error"
    assert other.status_code == 200


async def test_a_client_that_leaves_while_it_waits_changes_nothing_for_the_others(
    tmp_path: Path,
) -> None:
    async with place(managed_model(tmp_path, ON_DEMAND), directory=tmp_path) as here:
        leaving = asyncio.create_task(here.ask("a", stream=True))
        staying = asyncio.create_task(here.ask("a"))
        await here.scheduler.models["a"].server.replicas[0].server.process.change.wait()
        leaving.cancel()
        assert (await staying).status_code == 200


async def test_a_request_does_not_end_a_model_of_the_profile(tmp_path: Path) -> None:
    staying = ModelEntry("b", engine="vllm", memory=0.6)
    both = [managed_model(tmp_path, ON_DEMAND), managed_model(tmp_path, staying)]
    async with place(*both, directory=tmp_path) as here:
        await here.scheduler.load("b")
        refused = await here.ask("a")
        loaded = await here.clients[0].post("/v1/models/load", json={"model": "a"})
        gone = await here.ask("b")
    assert refused.status_code == 503
    assert "0.6 (b) + 0.6 (a) = 1.2 of each GPU's memory" in refused.json()["error"]["message"]
    # Who operates the server may.
    assert loaded.json()["status"] == "loaded"
    assert "b made room for a" in gone.json()["error"]["message"]


async def test_every_gateway_hears_that_a_model_was_unloaded(tmp_path: Path) -> None:
    staying = ModelEntry("a", engine="vllm")
    async with place(managed_model(tmp_path, staying), directory=tmp_path, gateways=2) as here:
        await here.scheduler.load("a")
        await here.clients[0].post("/v1/models/unload", json={"model": "a"})
        answers = [await here.ask("a", gateway) for gateway in (0, 1)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all("a is not loaded" in answer.text for answer in answers)


async def test_a_gateway_that_starts_later_learns_the_models(tmp_path: Path) -> None:
    async with place(managed_model(tmp_path, ON_DEMAND), directory=tmp_path, known=False) as here:
        assert (await here.ask("a")).status_code == 200


async def test_a_gateway_follows_a_supervisor_that_was_away(tmp_path: Path) -> None:
    one = managed_model(tmp_path, ModelEntry("a", engine="vllm"))
    scheduler, socket = ModelScheduler([one]), tmp_path / "control"
    settings = Settings(load=LIMITS, supervisor=socket)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(scheduler.close)
        async with control_socket(socket, scheduler):
            client = await stack.enter_async_context(server(model_of(one.row), settings=settings))
            await scheduler.load("a")
        async with control_socket(socket, scheduler):
            while not len(scheduler.subscribers):
                await client.get("/livez")
            await client.post("/v1/models/unload", json={"model": "a"})
            refused = await client.post(CHAT, json={"model": "a", "messages": user("Hi")})
    assert "a is not loaded" in refused.json()["error"]["message"]
