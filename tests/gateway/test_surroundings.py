from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server, user

from enginix.gateway.settings import Settings
from enginix.manifest import Accuracy

CHAT = "/v1/chat/completions"
LOCKED = Settings(api_keys=frozenset({"sk-one", "sk-two"}))


def body(**more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": user("Hi"), **more}


async def test_a_sound_request_id_comes_back_and_a_bad_one_is_replaced() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        kept = await client.post(CHAT, json=body(), headers={"X-Request-Id": "abc-1"})
        made = await client.post(CHAT, json=body(), headers={"X-Request-Id": "a b" * 100})
    assert kept.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32
    assert kept.headers["x-response-time"].endswith("ms")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-two"},
        {"Authorization": "bearer  sk-one"},
        {"X-API-Key": "sk-one"},
        {"X-API-Key": "sk-one", "Authorization": "Bearer their-own"},
        {"X-API-Key": "their-own", "Authorization": "Bearer sk-one"},
        {"X-API-Key": "", "Authorization": "Bearer sk-one"},
        {"X-API-Key": "sk-one", "Authorization": "Basic dXNlcg=="},
    ],
)
async def test_either_header_with_a_known_key_lets_in(headers: dict[str, str]) -> None:
    async with server(served(FakeBackend(ids("Hello"))), settings=LOCKED) as client:
        assert (await client.post(CHAT, json=body(), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-three"},
        {"Authorization": "Basic sk-one"},
        {"Authorization": "Bearer sk-three", "X-API-Key": "sk-four"},
        {"Authorization": "Bearer", "X-API-Key": ""},
    ],
)
async def test_anybody_else_gets_a_401_that_says_how_to_send_a_key(headers: Any) -> None:
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend), settings=LOCKED) as client:
        response = await client.post(CHAT, json=body(), headers=headers)
    assert response.status_code == 401
    assert "Authorization: Bearer" in response.json()["error"]["message"]
    assert "sk-" not in response.text.replace("sk-...", "")
    assert response.headers["www-authenticate"] == "Bearer"
    assert backend.asked == []


async def test_any_key_will_do_where_none_is_configured() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        headers = {"Authorization": "Bearer sk-dummy"}
        assert (await client.post(CHAT, json=body(), headers=headers)).status_code == 200


async def test_health_and_metrics_need_no_key() -> None:
    async with server(served(FakeBackend(ids("Hello"))), settings=LOCKED) as client:
        for path in ("/health", "/livez", "/readyz", "/metrics", "/version", "/"):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/"])
async def test_a_head_request_is_answered_as_a_get_without_its_body(path: str) -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_trailing_slash_does_not_change_the_path() -> None:
    async with server(served(FakeBackend(ids("Hello"))), settings=LOCKED) as client:
        refused = await client.post(f"{CHAT}/", json=body())
        answered = await client.post(f"{CHAT}/", json=body(), headers={"X-API-Key": "sk-one"})
        health = await client.get("/health/")
    assert [refused.status_code, answered.status_code, health.status_code] == [401, 200, 200]


async def test_anthropics_clients_find_the_request_id_under_their_name() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        response = await client.post("/v1/messages", json={}, headers={"X-Request-Id": "abc-1"})
    assert response.headers["request-id"] == "abc-1"


async def test_streams_tell_proxies_to_pass_them_on_at_once() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        response = await client.post(CHAT, json=body(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"


async def test_no_other_origin_may_read_answers() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        response = await client.post(CHAT, json=body(), headers={"Origin": "http://elsewhere"})
    assert "access-control-allow-origin" not in response.headers


async def test_pages_from_a_named_origin_may_ask_and_read_even_refusals() -> None:
    settings = Settings(api_keys=LOCKED.api_keys, cors_origins=frozenset({"http://chat.example"}))
    ours = {"Origin": "http://chat.example"}
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with server(served(FakeBackend(ids("Hello"))), settings=settings) as client:
        before = await client.options(CHAT, headers={**ours, **preflight})
        refused = await client.post(CHAT, json=body(), headers=ours)
        stream = await client.post(
            CHAT, json=body(stream=True), headers={**ours, "X-API-Key": "sk-one"}
        )
        other = await client.options(CHAT, headers={**preflight, "Origin": "http://elsewhere"})
    assert before.status_code == 200
    assert "authorization" in before.headers["access-control-allow-headers"]
    allowed = [each.headers["access-control-allow-origin"] for each in (before, refused, stream)]
    assert allowed == ["http://chat.example"] * 3
    assert [refused.status_code, stream.status_code] == [401, 200]
    assert "access-control-allow-origin" not in other.headers


async def test_the_log_has_a_line_of_json_without_prompts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "enginix.access")
    async with server(served(FakeBackend(ids("Hello")))) as client:
        await client.post(CHAT, json=body(messages=user("my secret")))
    (line,) = [entry.message for entry in caplog.records if entry.name == "enginix.access"]
    entry = json.loads(line)
    assert (entry["status"], entry["model"], entry["finish_reasons"]) == (200, "demo", ["stop"])
    assert entry["prompt_tokens"] > 0
    assert "secret" not in line
    assert "Hello" not in line


async def test_prompts_are_logged_when_the_operator_wants_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "enginix.access")
    settings = Settings(log_prompts=True)
    async with server(served(FakeBackend(ids("Hello"))), settings=settings) as client:
        await client.post(CHAT, json=body(messages=user("my secret")))
    assert "my secret" in caplog.text


async def test_metrics_count_tokens_times_and_errors_by_model() -> None:
    reply = ids("One two three four")
    async with server(served(FakeBackend(reply))) as client:
        await client.post(CHAT, json=body())
        await client.post(CHAT, json=body(model="other"))
        await client.post(CHAT, json=body(messages=user("word " * 600)))
        metrics = (await client.get("/metrics")).text
    assert f'enginix_generated_tokens_total{{model="demo"}} {float(len(reply))}' in metrics
    assert 'enginix_first_token_seconds_count{model="demo"} 1.0' in metrics
    assert f'enginix_inter_token_seconds_count{{model="demo"}} {float(len(reply) - 1)}' in metrics
    assert 'enginix_errors_total{kind="PromptTooLong",model=""} 1.0' in metrics
    assert 'enginix_errors_total{kind="ModelNotFound",model=""} 1.0' in metrics
    assert 'route="/v1/chat/completions",status="200"' in metrics


async def test_models_tell_their_context_kind_and_aliases() -> None:
    async with server(served(FakeBackend())) as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
        same = (await client.get("/v1/models/tiny-qwen3")).json()
        missing = await client.get("/v1/models/no/such")
    assert (model["id"], model["max_model_len"], model["kind"]) == ("demo", 512, "gguf")
    assert model["aliases"] == ["tiny-qwen3"]
    assert same["id"] == "demo"
    assert missing.status_code == 404


async def test_tokenize_and_detokenize_are_each_others_inverse() -> None:
    async with server(served(FakeBackend())) as client:
        tokens = (await client.post("/tokenize", json={"prompt": "Hello 你好 👋"})).json()
        text = (await client.post("/detokenize", json={"tokens": tokens["tokens"]})).json()
    assert text["prompt"] == "Hello 你好 👋"
    assert tokens["count"] == len(tokens["tokens"])


@pytest.mark.parametrize("token", [-1, 10**9, 2**70])
async def test_an_invalid_token_is_refused_by_its_index(token: int) -> None:
    async with server(served(FakeBackend([]))) as client:
        response = await client.post("/detokenize", json={"tokens": [5, token]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tokens[1]"


async def test_messages_are_tokenized_as_the_model_sees_them() -> None:
    backend = FakeBackend(ids("Hello"))
    async with server(served(backend)) as client:
        tokens = (await client.post("/tokenize", json={"messages": user("Hi")})).json()["tokens"]
        await client.post(CHAT, json=body())
    assert tokens == list(backend.asked[0].prompt_ids)


async def test_a_server_of_several_models_wants_to_know_which() -> None:
    one, two = served(FakeBackend(ids("1"))), served(FakeBackend(ids("2")), name="two", aliases=())
    async with server(one, two) as client:
        missing = await client.post(CHAT, json={"messages": user("Hi")})
        named = await client.post(CHAT, json=body(model="two"))
    assert missing.json()["error"]["param"] == "model"
    assert named.json()["choices"][0]["message"]["content"] == "2"


async def test_status_shows_every_model_with_its_load() -> None:
    async with server(served(FakeBackend())) as client:
        status = (await client.get("/v1/status")).json()
    assert status["models"][0]["state"] == "loaded"
    assert status["models"][0]["running"] == 0


async def test_status_tells_what_a_benchmark_needs_of_the_engine() -> None:
    async with server(served(FakeBackend())) as client:
        model = (await client.get("/v1/status")).json()["models"][0]
    assert (model["architecture"], model["ranks"]) == ("Qwen3ForCausalLM", 1)
    assert (model["weights_bytes"], model["built_for_gpu"]) == (0, None)


async def test_status_tells_how_accurate_the_engine_was_found() -> None:
    accuracy = Accuracy(12.5, "english.txt", "00" * 32, 4000, 512, 256, {"enginix": "0.1.0"})
    unmeasured = served(FakeBackend())
    manifest = replace(unmeasured.manifest, name="two", accuracy=accuracy)
    measured = replace(unmeasured, manifest=manifest, aliases=())

    async with server(unmeasured, measured) as client:
        one, two = (await client.get("/v1/status")).json()["models"]

    assert one["accuracy"] is None
    assert two["accuracy"] == asdict(accuracy)


async def test_the_api_description_defines_everything_it_refers_to() -> None:
    async with server(served(FakeBackend())) as client:
        document = (await client.get("/openapi.json")).json()
    text = json.dumps(document)
    defined = document["components"]["schemas"].keys()
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= defined
    assert "/v1/chat/completions" in document["paths"]
