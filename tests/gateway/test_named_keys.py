"""Named keys over HTTP: which models, what they may do, how much, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from fakes.backend import FakeBackend
from gateway.harness import Call, application, events, ids, served, server, user

from enginix.gateway.keys.key import digest_of
from enginix.gateway.keys.usage import Used, read_usage
from enginix.gateway.settings import Settings
from enginix.supervision import Availability

CHAT = "/v1/chat/completions"
ASKED = {"model": "demo", "messages": user("Hi")}
REPLY = ids("One two three four")


@dataclass(frozen=True)
class Place:
    client: httpx.AsyncClient
    backend: FakeBackend
    directory: Path

    def as_(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer sk-{key}"}

    async def ask(self, key: str, path: str = CHAT, **body: Any) -> httpx.Response:
        return await self.client.post(path, json={**ASKED, **body}, headers=self.as_(key))

    async def get(self, key: str, path: str) -> httpx.Response:
        return await self.client.get(path, headers=self.as_(key))


def key_file(directory: Path, **keys: str) -> Path:
    """A key sk-NAME for each name, with these fields."""
    path = directory / "keys.toml"
    path.write_text(
        "".join(
            f'[keys.{name}]\nhash = "sha256:{digest_of(f"sk-{name}").hex()}"\n{fields}\n'
            for name, fields in keys.items()
        )
    )
    path.chmod(0o600)
    return path


@asynccontextmanager
async def place_with(
    directory: Path, backend: FakeBackend | None = None, plain: str = "", **keys: str
) -> AsyncIterator[Place]:
    backend = backend or FakeBackend(REPLY)
    settings = Settings(
        api_keys=frozenset({plain} if plain else ()),
        key_file=key_file(directory, **keys),
        usage_directory=directory / "usage",
    )
    models = (served(backend), served(FakeBackend(REPLY), name="other", aliases=("gpt-4",)))
    async with server(*models, settings=settings) as client:
        yield Place(client, backend, directory)


async def test_only_a_known_key_that_has_not_expired_lets_in(tmp_path: Path) -> None:
    async with place_with(
        tmp_path, plain="sk-plain", alice="", old="expires = 2020-01-01", new="expires = 2999-01-01"
    ) as place:
        found = {
            name: await place.ask(name) for name in ("alice", "new", "old", "mallory", "plain")
        }
        keyless = await place.client.post(CHAT, json=ASKED)
    status = {name: answer.status_code for name, answer in found.items()}
    assert status == {"alice": 200, "new": 200, "old": 401, "mallory": 401, "plain": 200}
    assert "the API key 'old' expired on 2020-01-01" in found["old"].text
    assert keyless.status_code == 401


async def test_one_key_that_lets_in_suffices(tmp_path: Path) -> None:
    async with place_with(tmp_path, alice="", old="expires = 2020-01-01", root="admin = true") as p:
        for first, second in (("old", "alice"), ("alice", "old"), ("mallory", "alice")):
            headers = {**p.as_(first), "X-API-Key": f"sk-{second}"}
            assert (await p.client.post(CHAT, json=ASKED, headers=headers)).status_code == 200
        path, both = "/v1/requests/x/cancel", {**p.as_("alice"), "X-API-Key": "sk-root"}
        assert (await p.client.post(path, json={}, headers=both)).status_code == 404


async def test_a_model_that_a_key_may_not_use_is_not_there_for_it(tmp_path: Path) -> None:
    async with place_with(tmp_path, alice='models = ["gpt*"]', bob='models = ["dem?"]') as place:
        listed = {
            name: [row["id"] for row in (await place.get(name, "/v1/models")).json()["data"]]
            for name in ("alice", "bob")
        }
        seen = (await place.get("alice", "/v1/status")).json()["models"]
        own = await place.ask("alice", model="gpt-4")
        unnamed = await place.client.post(
            CHAT, json={"messages": user("Hi")}, headers=place.as_("alice")
        )
        refused = [
            await place.ask("alice"),
            await place.ask("alice", "/v1/completions", prompt="Hi"),
            await place.ask("alice", "/v1/responses", input="Hi"),
            await place.ask("alice", "/v1/messages", max_tokens=9),
            await place.ask("alice", "/v1/messages/count_tokens"),
            await place.ask("alice", "/tokenize", prompt="Hi", messages=None),
            await place.ask("alice", "/api/v1/inference/stream", modelId="demo", prompt="Hi"),
            await place.get("alice", "/v1/models/demo"),
        ]
    assert listed == {"alice": ["other"], "bob": ["demo"]}
    assert [row["id"] for row in seen] == ["other"]
    assert (own.status_code, unnamed.status_code) == (200, 200)
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert refused[0].json()["error"]["code"] == "model_not_found"
    assert all("this server has gpt-4, other" in answer.text for answer in refused)
    assert place.backend.asked == []


async def test_limits_are_told_in_headers_and_kept(tmp_path: Path) -> None:
    limits = "requests_per_minute = 2\ntokens_per_minute = 1000"
    async with place_with(tmp_path, alice=limits, bob=limits, root="") as place:
        first = await place.ask("alice")
        stream = await place.ask("alice", stream=True)
        third = await place.ask("alice")
        others = [await place.ask("bob"), await place.ask("root")]
        listed = await place.get("alice", "/v1/models")
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    prompt = first.json()["usage"]["prompt_tokens"]
    assert first.headers["x-ratelimit-remaining-tokens"] == str(1000 - prompt)
    assert stream.headers["x-ratelimit-remaining-requests"] == "0"
    assert events(stream.text)[-1] == "[DONE]"
    assert third.status_code == 429
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(third.headers["retry-after"]) <= 30
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert [answer.status_code for answer in others] == [200, 200]
    assert "x-ratelimit-limit-requests" not in others[1].headers
    assert (listed.status_code, "x-ratelimit-limit-requests" in listed.headers) == (200, False)


async def test_answers_are_charged_when_they_end(tmp_path: Path) -> None:
    backend = FakeBackend(ids("word " * 400))
    async with place_with(tmp_path, backend, alice="tokens_per_minute = 1000") as place:
        first, second = await place.ask("alice"), await place.ask("alice")
    spent = [first.json()["usage"]["total_tokens"], second.json()["usage"]["prompt_tokens"]]
    left = int(second.headers["x-ratelimit-remaining-tokens"])
    # The bucket fills while the test runs, and would need longer for all of it.
    assert spent[0] > 400
    assert 1000 - sum(spent) <= left < 1000 - spent[1]


async def test_a_key_makes_no_model_load_that_it_may_not_use(tmp_path: Path) -> None:
    settings = Settings(key_file=key_file(tmp_path, alice='models = ["gpt*"]', bob=""))
    async with application(served(FakeBackend(REPLY)), settings=settings) as app:
        app.state.gateway.states["demo"].presence = Availability.ON_DEMAND
        status = {}
        for name in ("alice", "bob"):
            call = Call(app, CHAT, ASKED, {"Authorization": f"Bearer sk-{name}"})
            await call.run()
            status[name] = call.sent[0]["status"]
    # No supervisor loads it for bob.
    assert status == {"alice": 404, "bob": 503}


async def test_a_key_runs_only_so_many_requests_at_once(tmp_path: Path) -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    async with place_with(tmp_path, backend, alice="max_running = 1", bob="") as place:
        running = asyncio.create_task(place.ask("alice"))
        await backend.stuck.wait()
        refused = await place.ask("alice")
        rows = [(await place.get(name, "/v1/requests")).json()["data"] for name in ("alice", "bob")]
        backend.go.set()
        answered, after = await running, await place.ask("alice")
    found = [answer.status_code for answer in (refused, answered, after)]
    assert found == [429, 200, 200]
    assert "it has 1 requests running" in refused.text
    assert [[row["key"] for row in each] for each in rows] == [["alice"], []]


async def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    backend = FakeBackend(REPLY, stops_at=1)
    async with place_with(tmp_path, backend, alice="max_running = 1") as place:
        running = asyncio.create_task(place.ask("alice", stream=True))
        await backend.stuck.wait()
        running.cancel()
        await asyncio.wait({running})
        backend.go.set()
        async with asyncio.timeout(20):
            while (await place.ask("alice")).status_code == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_the_official_clients_raise_their_rate_limit_errors(tmp_path: Path) -> None:
    async with place_with(tmp_path, alice="requests_per_minute = 1") as place:
        url = str(place.client.base_url)
        sdk = openai.AsyncOpenAI(api_key="sk-alice", base_url=f"{url}/v1", max_retries=0)
        other = anthropic.AsyncAnthropic(api_key="sk-alice", base_url=url, max_retries=0)
        async with sdk, other:
            raw = await sdk.chat.completions.with_raw_response.create(
                model="demo",
                messages=[{"role": "user", "content": "Hi"}],
            )
            with pytest.raises(openai.RateLimitError) as caught:
                await sdk.chat.completions.create(
                    model="demo", messages=[{"role": "user", "content": "Hi"}], stream=True
                )
            with pytest.raises(anthropic.RateLimitError) as theirs:
                await other.messages.create(
                    model="demo", max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
                )
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) <= 60
    assert theirs.value.body == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": theirs.value.body["error"]["message"],  # type: ignore[index]
        },
    }
    assert theirs.value.response.headers["anthropic-ratelimit-requests-limit"] == "1"


async def test_what_changes_the_server_needs_a_key_that_administers(tmp_path: Path) -> None:
    changes = (
        ("POST", "/v1/models/load"),
        ("POST", "/v1/models/unload"),
        ("POST", "/v1/models/restart"),
        ("POST", "/v1/models/unload/"),
        ("POST", "/v1/requests/x/cancel"),
        ("GET", "/v1/models/demo/log"),
        ("HEAD", "/v1/models/demo/log"),
        ("DELETE", "/v1/responses/resp_x"),
    )
    async with place_with(tmp_path, alice="", root="admin = true") as place:

        async def status(name: str, method: str, path: str) -> int:
            body = {"model": "demo"} if method == "POST" else None
            answer = await place.client.request(method, path, json=body, headers=place.as_(name))
            return answer.status_code

        users = [await status("alice", *change) for change in changes]
        roots = [await status("root", *change) for change in changes]
    assert users == [403] * len(changes)
    assert not {401, 403} & set(roots)


async def test_a_key_is_taken_up_and_revoked_while_the_gateway_runs(tmp_path: Path) -> None:
    async with place_with(tmp_path, alice="") as place:
        key_file(tmp_path / ".", bob="")
        async with asyncio.timeout(20):
            while (await place.ask("bob")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await place.ask("alice")).status_code == 401


async def test_a_file_of_keys_that_became_wrong_is_in_the_status_of_keys_for_all_models(
    tmp_path: Path,
) -> None:
    async with place_with(tmp_path, alice="", bob='models = ["demo"]') as place:

        async def told(key: str) -> Any:
            return (await place.get(key, "/v1/status")).json()["configuration"]

        assert await told("alice") is None
        key_file(tmp_path, alice="max_running = 0")
        async with asyncio.timeout(20):
            while not (configuration := await told("alice")):
                pass
        assert "keys.toml:3: keys.alice.max_running" in configuration["error"]
        assert configuration["error"].endswith("the earlier keys stay in force")
        assert await told("bob") is None


async def test_use_is_counted_by_key_and_model_and_no_key_or_prompt_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with place_with(tmp_path, alice="requests_per_minute = 2", bob="") as place:
        for name in ("alice", "alice", "alice", "bob"):
            await place.ask(name, messages=user("a secret prompt"))
        await place.get("bob", "/v1/models")
        metrics = (await place.client.get("/metrics")).text
        prompt = (await place.ask("bob")).json()["usage"]["prompt_tokens"]
    label = 'key="alice",model="demo"'
    assert f"enginix_key_requests_total{{{label}}} 3.0" in metrics
    assert f"enginix_key_failed_requests_total{{{label}}} 1.0" in metrics
    assert f"enginix_key_generated_tokens_total{{{label}}} {2.0 * len(REPLY)}" in metrics
    usage, _ = read_usage(tmp_path / "usage")
    prompt = usage["bob", "demo"].prompt_tokens - prompt
    assert usage["alice", "demo"] == Used(3, 1, 2 * prompt, 2 * len(REPLY))
    assert usage["bob", "demo"].requests == 2
    written = "".join(path.read_text() for path in (tmp_path / "usage").iterdir())
    for text in (metrics, written, caplog.text):
        assert "secret" not in text
        assert "sk-" not in text
    assert '"key":"alice"' in caplog.text


async def test_without_a_file_no_series_has_a_key() -> None:
    async with server(served(FakeBackend(REPLY))) as client:
        await client.post(CHAT, json=ASKED)
        assert "key=" not in (await client.get("/metrics")).text
