"""The models of a running gateway come, change and go; requests end with what they began with."""

from __future__ import annotations

import asyncio

from fakes.backend import FakeBackend
from gateway.harness import ids, served

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.lineup import serve, serve_only
from enginix.gateway.models.record import RequestRecord
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.models.state import Gateway
from enginix.gateway.settings import LoadLimits, Settings


def adapter(name: str, parent: str | None = None) -> PassthroughModel:
    backend = OpenAIBackend("stand-in", "http://127.0.0.1:1", name)
    return PassthroughModel(name, backend, "vllm", parent=parent)


async def test_a_models_adapters_come_change_and_go_with_it() -> None:
    gateway = Gateway([adapter("a"), adapter("law", "a"), adapter("b")], Settings())
    serve(gateway, [adapter("a"), adapter("art", "a")])
    assert sorted(gateway.states) == ["a", "art", "b"]
    serve_only(gateway, ["b", "a"])
    assert [model.name for model in gateway.models] == ["b", "a", "art"]
    serve_only(gateway, ["b"])
    assert [model.name for model in gateway.models] == ["b"]
    await gateway.close()


async def test_a_model_and_its_adapters_share_their_servers_slots() -> None:
    settings = Settings(load=LoadLimits(running=1))
    gateway = Gateway([adapter("a"), adapter("law", "a"), adapter("b")], settings)
    serve(gateway, [adapter("a"), adapter("law", "a"), adapter("art", "a")])
    states = gateway.states
    record = RequestRecord("1", 0.0, "/", None)
    key = await states["law"].enter(record)
    assert all(states[name].admission.full for name in ("a", "law", "art"))
    assert not states["b"].admission.full
    waiting = asyncio.create_task(states["art"].enter(record))
    await asyncio.sleep(0)
    assert [states[name].traffic.running for name in ("a", "law", "art")] == [0, 1, 0]
    assert [states[name].traffic.waiting for name in ("a", "law", "art")] == [0, 0, 1]
    states["law"].leave(key)
    states["art"].leave(await waiting)
    assert [states[name].busy for name in ("a", "law", "art")] == [0, 0, 0]
    await gateway.close()


async def test_a_models_state_stays_and_its_former_backend_is_closed() -> None:
    first, second = FakeBackend(ids("Hi")), FakeBackend(ids("Hi"))
    gateway = Gateway([served(first)], Settings())
    before = gateway.states["demo"]
    serve(gateway, [new := served(second)])
    assert gateway.states["demo"] is before
    assert before.model is new
    await asyncio.gather(*gateway.retiring)
    assert (first.closed, second.closed) == (True, False)
    await gateway.close()
