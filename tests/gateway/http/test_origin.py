"""A web page that the operator has not allowed cannot load, unload, or use the GPU."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server, user

from enginix.gateway.http.origin import LOOPBACK_NAMES, host_name, is_ours
from enginix.gateway.settings import Settings

CHAT = "/v1/chat/completions"
UNLOAD = "/v1/models/unload"
EVIL = {"Origin": "http://evil.example"}
FORM = {"Content-Type": "text/plain"}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "demo", "messages": user("Hi"), "max_tokens": 3},
    "/v1/completions": {"model": "demo", "prompt": "Hi", "max_tokens": 3},
    "/v1/responses": {"model": "demo", "input": "Hi", "max_output_tokens": 3},
    "/v1/messages": {"model": "demo", "messages": user("Hi"), "max_tokens": 3},
    "/api/v1/inference/stream": {"modelId": "demo", "prompt": "Hi", "maxTokens": 3},
    "/v1/messages/count_tokens": {"model": "demo", "messages": user("Hi")},
    "/tokenize": {"model": "demo", "prompt": "Hi"},
    "/v1/models/load": {"model": "demo"},
    UNLOAD: {"model": "demo"},
}
every_route = pytest.mark.parametrize("path", BODIES)
GUARDED = Settings(allowed_hosts=LOOPBACK_NAMES)


@asynccontextmanager
async def ours(settings: Settings = GUARDED) -> AsyncIterator[httpx.AsyncClient]:
    async with server(served(FakeBackend(ids("Hello"))), settings=settings) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


@every_route
@pytest.mark.parametrize(
    "headers",
    [EVIL, {**EVIL, **FORM}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://localhost:1"}],
    ids=["json", "form", "sandbox", "no-cors", "other port by word", "other port"],
)  # fmt: skip
async def test_a_page_from_elsewhere_is_refused(path: str, headers: dict[str, str]) -> None:
    async with ours() as client:
        answer = await client.post(path, json=BODIES[path], headers=headers)
    assert answer.status_code == 403
    error = error_of(answer)
    assert error["type"] == "permission_error"
    assert "--cors-origin" in error["message"]
    assert (answer.json().get("type") == "error") == path.startswith("/v1/messages")


@every_route
async def test_a_program_sends_no_origin_and_a_page_of_ours_its_own(path: str) -> None:
    async with ours() as client:
        own = {"Origin": str(client.base_url).rstrip("/")}
        proxied = {"Origin": "https://ai.example", "Sec-Fetch-Site": "same-origin"}
        typed = {"Sec-Fetch-Site": "none"}
        answers = [
            await client.post(path, json=BODIES[path], headers=headers)
            for headers in ({}, own, proxied, typed)
        ]
    # There is no supervisor here who could load anything.
    expected = 400 if path.startswith("/v1/models/") else 200
    assert [answer.status_code for answer in answers] == [expected] * 4


async def test_an_allowed_origin_may_do_what_ours_may() -> None:
    named = Settings(cors_origins=frozenset({"https://chat.example"}))
    everybody = Settings(cors_origins=frozenset({"*"}))
    origin = {"Origin": "https://chat.example", "Sec-Fetch-Site": "cross-site"}
    for settings, headers in ((named, origin), (everybody, {**origin, **EVIL})):
        async with ours(settings) as client:
            answer = await client.post(CHAT, json=BODIES[CHAT], headers=headers)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] in ("https://chat.example", "*")
    async with ours(named) as client:
        assert (await client.post(CHAT, json=BODIES[CHAT], headers=EVIL)).status_code == 403


async def test_reading_needs_no_origin_of_ours() -> None:
    async with ours() as client:
        for path in ("/", "/v1/models", "/health", "/metrics"):
            assert (await client.get(path, headers=EVIL)).status_code == 200


async def test_a_page_needs_an_allowed_origin_to_load_models_even_with_a_key() -> None:
    locked = Settings(api_keys=frozenset({"sk-one"}))
    key = {"X-API-Key": "sk-one"}
    async with ours(locked) as client:
        chat = await client.post(CHAT, json=BODIES[CHAT], headers={**EVIL, **key})
        refused = await client.post(UNLOAD, json=BODIES[UNLOAD], headers={**EVIL, **key})
        deleted = await client.delete("/v1/responses/x", headers={**EVIL, **key})
    assert [chat.status_code, refused.status_code, deleted.status_code] == [200, 403, 403]


@pytest.mark.parametrize("path", ["/v1/models/load", UNLOAD, f"{UNLOAD}/"])
@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
async def test_a_request_that_changes_the_server_must_declare_json(
    path: str, declared: str
) -> None:
    async with ours() as client:
        headers = {"Content-Type": declared}
        answer = await client.post(path, content=b'{"model": "demo"}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in error_of(answer)["message"]


@pytest.mark.parametrize(
    "declared", ["application/json", "Application/JSON; charset=utf-8", "application/x.y+json"]
)
async def test_every_way_to_declare_json_will_do(declared: str) -> None:
    async with ours() as client:
        headers = {"Content-Type": declared}
        answer = await client.post(UNLOAD, content=b'{"model": "demo"}', headers=headers)
    assert answer.status_code == 400
    assert "supervisor" in answer.text or "enginix up" in answer.text


async def test_a_question_may_come_as_curl_sends_it() -> None:
    content = httpx.Request("POST", "http://x", json=BODIES[CHAT]).content
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with ours() as client:
        assert (await client.post(CHAT, content=content, headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/models", "/metrics", "/livez"])
async def test_a_name_that_is_not_ours_is_refused_even_for_reading(path: str) -> None:
    async with ours() as client:
        answer = await client.get(path, headers={"Host": "evil.example:9000"})
    assert answer.status_code == 403
    assert "--allowed-host" in error_of(answer)["message"]


async def test_a_page_whose_name_points_here_is_refused_in_its_dialect() -> None:
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    async with ours() as client:
        chat = await client.post(CHAT, json=BODIES[CHAT], headers=rebound)
        message = await client.post("/v1/messages", json=BODIES["/v1/messages"], headers=rebound)
        before = await client.options(CHAT, headers=rebound)
    assert [chat.status_code, message.status_code, before.status_code] == [403, 403, 403]
    assert message.json()["type"] == "error"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9000", "localhost.", "127.0.0.1:1", "[::1]:9000", "[::1]"]
)
async def test_the_names_of_this_machine_are_ours_with_any_port(host: str) -> None:
    async with ours() as client:
        assert (await client.get("/v1/models", headers={"Host": host})).status_code == 200


async def test_without_names_every_host_will_do() -> None:
    async with ours(Settings()) as client:
        headers = {"Host": "host.docker.internal:9000"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_the_page_cannot_be_shown_inside_of_another() -> None:
    async with ours() as client:
        page = await client.get("/")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"].split("; ")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:9000", "localhost:9000", True),
        ("http://LOCALHOST:9000", "localhost:9000", True),
        ("http://ai.example", "ai.example:80", True),
        ("https://ai.example:443", "ai.example", True),
        ("http://[::1]:9000", "[::1]:9000", True),
        ("http://localhost:9001", "localhost:9000", False),
        ("http://localhost", "localhost:9000", False),
        ("http://localhost:9000.evil.example", "localhost:9000", False),
        ("http://evil.example/localhost:9000", "localhost:9000", False),
        ("file://", "", False),
        ("null", "null", False),
        ("http://[::1", "[::1", False),
        ("", "", False),
    ],
)
def test_an_origin_is_ours_if_the_request_names_its_host(
    origin: str, host: str, same: bool
) -> None:
    assert is_ours(origin, [host]) == same


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.b:80", "a.b"),
        ("A", "a"),
        ("[::1]:9", "[::1]"),
        ("[::1]", "[::1]"),
        ("a.:1", "a"),
        ("", ""),
    ],
)
def test_a_host_s_name_has_neither_port_nor_last_dot(host: str, name: str) -> None:
    assert host_name(host) == name
