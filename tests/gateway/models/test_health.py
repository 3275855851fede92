from __future__ import annotations

import asyncio

import httpx
from fakes.backend import FakeBackend
from gateway.harness import application, ids, served, server, user

from enginix.errors import BackendUnavailable, GenerationFailed
from enginix.gateway.models.health import Liveness
from enginix.supervision import Availability


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_flowing_tokens_prove_health_without_a_probe() -> None:
    backend, clock = FakeBackend(), Clock()
    liveness = Liveness(backend.probe, clock=clock)
    liveness.last_token = clock.now
    assert (await liveness.health()).ok
    assert backend.probes == 0


async def test_an_idle_model_is_probed_once_in_a_while() -> None:
    backend, clock = FakeBackend(), Clock()
    liveness = Liveness(backend.probe, fresh=5, clock=clock)
    assert (await liveness.health()).ok
    assert (await liveness.health()).ok
    assert backend.probes == 1
    clock.now += 6
    assert (await liveness.health()).ok
    assert backend.probes == 2


async def test_many_who_ask_share_one_probe() -> None:
    backend = FakeBackend()
    liveness = Liveness(backend.probe)
    answers = await asyncio.gather(*(liveness.health() for _ in range(50)))
    assert all(answer.ok for answer in answers)
    assert backend.probes == 1


async def test_a_failing_probe_is_bad_health_with_its_reason() -> None:
    backend = FakeBackend()
    backend.probe_error = BackendUnavailable("nobody there")
    health = await Liveness(backend.probe).health()
    assert (health.ok, health.reason) == (False, "nobody there")


async def test_a_broken_stream_triggers_a_probe_despite_recent_tokens() -> None:
    backend, clock = FakeBackend(), Clock()
    liveness = Liveness(backend.probe, clock=clock)
    liveness.last_token = clock.now
    backend.probe_error = BackendUnavailable("killed")
    liveness.failed(BackendUnavailable("broken off"))
    assert not (await liveness.health()).ok


async def test_an_error_response_does_not_make_a_model_suspect() -> None:
    backend, clock = FakeBackend(), Clock()
    liveness = Liveness(backend.probe, clock=clock)
    liveness.last_token = clock.now
    liveness.failed(GenerationFailed("bad grammar"))
    assert (await liveness.health()).ok
    assert backend.probes == 0


async def test_a_suspect_that_does_not_answer_in_time_is_not_healthy() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    liveness = Liveness(never, patience=0)
    liveness.failed(BackendUnavailable("broken off"))
    health = await liveness.health()
    assert (health.ok, health.reason) == (False, "broken off")
    await liveness.close()


async def test_a_busy_model_that_was_well_is_not_called_dead() -> None:
    clock, answers = Clock(), [asyncio.Event()]
    answers[0].set()

    async def probe() -> None:
        await answers[-1].wait()

    liveness = Liveness(probe, patience=0.5, clock=clock)
    assert (await liveness.health()).ok
    answers.append(asyncio.Event())
    clock.now += 60
    liveness._patience = 0
    assert (await liveness.health()).ok
    await liveness.close()


async def test_health_is_red_while_no_token_comes_out_and_liveness_stays_green() -> None:
    backend = FakeBackend()
    backend.probe_error = BackendUnavailable("nobody there")
    async with server(served(backend)) as client:
        health, live = await client.get("/health"), await client.get("/livez")
        ready = await client.get("/readyz")
        models = await client.get("/v1/models")
    assert (health.status_code, ready.status_code) == (503, 503)
    assert "nobody there" in health.text
    assert (live.status_code, models.status_code) == (200, 200)


async def test_a_model_answers_as_soon_as_it_is_back_whatever_the_last_probe_found() -> None:
    backend = FakeBackend(ids("Hello"))
    backend.probe_error = BackendUnavailable("connection refused")
    async with server(served(backend)) as client:
        assert (await client.get("/health")).status_code == 503
        backend.probe_error = None
        answer = await client.post("/v1/chat/completions", json={"messages": user("Hi")})
    assert answer.status_code == 200


async def test_tokens_of_real_traffic_turn_health_green() -> None:
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend)) as client:
        await client.post("/v1/chat/completions", json={"messages": user("Hi")})
        health = await client.get("/health")
    assert health.status_code == 200
    assert backend.probes == 0


async def test_readiness_can_be_asked_for_one_model_by_any_of_its_names() -> None:
    broken = FakeBackend()
    broken.probe_error = BackendUnavailable("nobody there")
    async with server(served(FakeBackend()), served(broken, name="other", aliases=())) as client:
        both = await client.get("/readyz")
        well = await client.get("/readyz?model=tiny-qwen3")
        ill = await client.get("/readyz?model=other")
        unknown = await client.get("/readyz?model=third")
    assert [both.status_code, well.status_code, ill.status_code] == [503, 200, 503]
    assert well.json() == {
        "status": "ok",
        "models": {"demo": {"ok": True, "reason": "a probe's token came out"}},
    }
    assert ill.json()["models"] == {"other": {"ok": False, "reason": "nobody there"}}
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"


async def test_a_model_that_takes_no_requests_is_not_ready_though_the_server_is() -> None:
    async with application(served(FakeBackend())) as app:
        state = app.state.gateway.states["demo"]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            state.presence, state.reason = Availability.CLOSED, "demo is being unloaded"
            closed = await client.get("/readyz?model=demo")
            assert (await client.get("/readyz")).status_code == 200
            state.presence = Availability.ON_DEMAND
            assert (await client.get("/readyz?model=demo")).status_code == 200
    assert closed.status_code == 503
    assert closed.json()["models"]["demo"]["reason"] == "demo is being unloaded"


async def test_a_gateway_that_leaves_answers_but_wants_no_further_request() -> None:
    async with application(served(FakeBackend(ids("Hello")))) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            before = await client.get("/readyz")
            app.state.gateway.leaving = True
            ready = await client.get("/readyz?model=demo")
            late = await client.post("/v1/chat/completions", json={"messages": user("Hi")})
            status = await client.get("/v1/status")
    assert (before.status_code, "connection" in before.headers) == (200, False)
    assert (ready.status_code, ready.json()) == (503, {"status": "stopping"})
    assert (late.status_code, late.headers["connection"]) == (200, "close")
    assert status.json()["stopping"]
