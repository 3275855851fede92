"""The gateway loads, unloads and lists models through a real supervisor's socket."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from gateway.harness import server, user
from gateway.supervised import supervised_model

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.serve.server_process import State

CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "messages": user("Hi")}


async def test_status_tells_process_and_traffic(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        before = (await place.client.get("/v1/status")).json()["models"][0]
        await place.client.post(CHAT, json=ASKED)
        after = (await place.client.get("/v1/status")).json()["models"][0]
        pid = place.server.process.pid
    assert before["status"] == "loaded"
    assert (before["pid"], before["process_alive"], before["restarts"]) == (pid, True, 0)
    assert (before["last_token_seconds"], before["last_error"]) == (None, None)
    assert after["last_token_seconds"] < 5


async def test_an_unloaded_model_is_a_503_that_says_so_until_it_is_loaded(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        unloaded = await place.client.post("/v1/models/unload", json={"model": "m"})
        refused = await place.client.post(CHAT, json=ASKED)
        health = await place.client.get("/health")
        assert place.server.process.state is State.IDLE
        loaded = await place.client.post("/v1/models/load", json={"model": "m"})
        answered = await place.client.post(CHAT, json=ASKED)
    assert unloaded.json()["status"] == "idle"
    assert refused.status_code == 503
    assert "m is not loaded" in refused.json()["error"]["message"]
    assert health.status_code == 200
    assert loaded.json()["status"] == "loaded"
    assert answered.status_code == 200


async def test_unloading_waits_for_running_answers_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        long = {**ASKED, "stream": True, "max_tokens": 50}
        async with place.client.stream("POST", CHAT, json=long) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            body = {"model": "m"}
            unloading = asyncio.create_task(place.client.post("/v1/models/unload", json=body))
            while (await place.client.post(CHAT, json=ASKED)).status_code != 503:
                pass
            assert place.server.process.state is State.LOADED
            rest = [line async for line in lines]
        assert rest[-2] == "data: [DONE]"
        assert (await unloading).json()["status"] == "idle"


async def test_an_answer_that_never_ends_is_broken_off_after_the_deadline(tmp_path: Path) -> None:
    async with supervised_model(tmp_path, drain=0.2) as place:
        endless = {**ASKED, "stream": True, "max_tokens": 10**6}
        async with place.client.stream("POST", CHAT, json=endless) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            unloaded = await place.client.post("/v1/models/unload", json={"model": "m"})
            rest = [line async for line in lines if line]
    assert unloaded.json()["status"] == "idle"
    assert "backend_unavailable" in rest[-1]


async def test_loading_can_be_left_to_the_background(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        await place.client.post("/v1/models/unload", json={"model": "m"})
        started = await place.client.post("/v1/models/load?wait=false", json={"model": "m"})
        assert started.status_code == 202
        while place.server.process.state is not State.LOADED:
            await place.server.process.change.wait()


async def test_a_server_that_is_down_is_explained_to_who_asks(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        await place.server.unload()
        answer = await place.client.post(CHAT, json=ASKED)
    assert answer.status_code == 503
    assert "m has not been loaded for" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("load", {"model": "x"}, 404, "no model named 'x'"),
        ("unload", {}, 400, "model is missing"),
    ],
)
async def test_a_file_that_cannot_be_loaded_is_named(
    tmp_path: Path, path: str, body: dict[str, str], status: int, words: str
) -> None:
    async with supervised_model(tmp_path) as place:
        answer = await place.client.post(f"/v1/models/{path}", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


async def test_status_tells_the_memory_and_the_uptime_of_a_server(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        status = (await place.client.get("/v1/status")).json()["models"][0]
        await place.client.post("/v1/models/unload", json={"model": "m"})
        ended = (await place.client.get("/v1/status")).json()["models"][0]
    assert 5 << 20 < status["memory_bytes"] < 1 << 30
    assert 0 <= status["uptime_seconds"] < 60
    assert (ended["memory_bytes"], "uptime_seconds" in ended) == (None, False)


async def test_a_crash_is_forgotten_once_the_model_is_unloaded_on_purpose(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        pid = place.server.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while place.server.restarts == 0 or place.server.process.state is not State.LOADED:
            await place.server.process.change.wait()
        crashed = (await place.client.get("/v1/status")).json()["models"][0]
        await place.client.post("/v1/models/unload", json={"model": "m"})
        ended = (await place.client.get("/v1/status")).json()["models"][0]
    assert "m was killed by SIGKILL" in crashed["last_error"]
    assert (ended["state"], ended["last_error"]) == ("idle", None)


async def test_a_crash_is_quoted_without_keys(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        with (tmp_path / "log").open("a") as log:
            log.write("--api-key sesame\nand more\n")
        assert place.server.process.pid is not None
        os.kill(place.server.process.pid, signal.SIGKILL)
        while place.server.restarts == 0:
            await place.server.process.change.wait()
        status = (await place.client.get("/v1/status")).json()["models"][0]
    assert "--api-key [removed]\nand more" in status["last_error"]


async def test_the_log_of_a_server_is_read_without_its_keys(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        with (tmp_path / "log").open("a") as log:
            log.write("one\nargs: --api-key sesame --port 7\n{'api_key': ['sesame']}\n")
            log.write("Authorization: Bearer sesame\nhf_abcdefghijklmnopqrstuv is wrong\n")
        answer = await place.client.get("/v1/models/m/log?lines=5")
        short = await place.client.get("/v1/models/m/log?lines=1")
        wrong = [
            (await place.client.get(f"/v1/models/{path}")).status_code
            for path in ("m/log?lines=0", "m/log?lines=many", "m/log?lines=9999", "x/log")
        ]
    assert answer.json() == {
        "id": "m",
        "object": "log",
        "path": str(tmp_path / "log"),
        "lines": [
            "one",
            "args: --api-key [removed] --port 7",
            "{'api_key': ['[removed]']}",
            "Authorization: Bearer [removed]",
            "[removed] is wrong",
        ],
    }
    assert short.json()["lines"] == ["[removed] is wrong"]
    assert wrong == [400, 400, 400, 404]


async def test_a_request_that_waits_for_its_model_can_be_stopped(tmp_path: Path) -> None:
    async with supervised_model(tmp_path, on_demand=True) as place:
        await place.client.post("/v1/models/unload", json={"model": "m"})
        asking = asyncio.create_task(place.client.post(CHAT, json=ASKED))
        while not (rows := (await place.client.get("/v1/requests")).json()["data"]):
            pass
        stopped = await place.client.post(f"/v1/requests/{rows[0]['id']}/cancel", json={})
        answer = await asking
    assert (rows[0]["state"], rows[0]["model"]) == ("loading", "m")
    assert stopped.status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "request_stopped")


async def test_a_request_that_its_model_cannot_answer_does_not_load_it(tmp_path: Path) -> None:
    async with supervised_model(tmp_path, on_demand=True) as place:
        await place.client.post("/v1/models/unload", json={"model": "m"})
        asked = {"model": "m", "input": "a"}
        answer = await place.client.post("/v1/embeddings", json=asked)
        (status,) = (await place.client.get("/v1/status")).json()["models"]
    assert (answer.status_code, status["state"]) == (400, "idle")
    assert "m generates text" in answer.json()["error"]["message"]


async def test_a_restart_fails_no_request_of_a_model_with_one_server(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        pid = place.server.process.pid
        long = {**ASKED, "stream": True, "max_tokens": 50}
        async with place.client.stream("POST", CHAT, json=long) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            restarting = asyncio.create_task(
                place.client.post("/v1/models/restart", json={"model": "m"})
            )
            while (await place.client.get("/v1/status")).json()["models"][0]["presence"] == "open":
                pass
            waiting = asyncio.create_task(place.client.post(CHAT, json=ASKED))
            rest = [line async for line in lines]
        restarted = (await restarting).json()
        assert rest[-2] == "data: [DONE]"
        assert (await waiting).status_code == 200
        assert place.server.process.pid not in (None, pid)
    assert (restarted["status"], restarted["presence"], restarted["replicas"]) == (
        *("loaded", "open"),
        [],
    )


async def test_what_is_not_loaded_is_not_restarted(tmp_path: Path) -> None:
    async with supervised_model(tmp_path) as place:
        await place.client.post("/v1/models/unload", json={"model": "m"})
        refused = await place.client.post("/v1/models/restart", json={"model": "m"})
        unknown = await place.client.post("/v1/models/restart", json={"model": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_loaded")
    assert "m is not loaded; load it with" in refused.json()["error"]["message"]
    assert unknown.status_code == 404


@pytest.mark.parametrize("path", ["load", "unload", "restart"])
async def test_without_a_supervisor_nothing_changes(path: str) -> None:
    model = PassthroughModel("m", OpenAIBackend("stand-in", "http://127.0.0.1:1", "m"), "vllm")
    async with server(model) as client:
        answer = await client.post(f"/v1/models/{path}", json={"model": "m"})
        asked = await client.post(CHAT, json=ASKED)
    assert answer.json()["error"]["code"] == "not_supervised"
    assert "cannot be reached" in asked.json()["error"]["message"]
