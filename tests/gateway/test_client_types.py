"""Everything the gateway sends has the types that the clients' packages declare."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import events, ids, served, server, user
from pydantic import TypeAdapter

pytest.importorskip("anthropic", reason="not packaged everywhere")
pytest.importorskip("openai", reason="not packaged everywhere")

from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item_list import ResponseItemList

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

REPLY = (
    "<think>\nI know that.\n</think>\n\nLet me look."
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "get_weather", "parameters": PARAMETERS}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": user("Hi"),
        "tools": [{"type": "function", "function": FUNCTION}],
        "logprobs": True,
        "n": 2,
    },
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", **FUNCTION}]},
    "/v1/messages": {
        "messages": user("Hi"),
        "max_tokens": 200,
        "tools": [{"name": "get_weather", "input_schema": PARAMETERS}],
        **THINKING,
    },
}


async def answer(path: str, **more: Any) -> Any:
    async with server(served(FakeBackend(ids(REPLY)))) as client:
        response = await client.post(path, json={**ASKED[path], **more})
    assert response.status_code == 200, response.text
    return events(response.text) if more.get("stream") else response.json()


@pytest.mark.parametrize("cut", [{}, {"limit": 4}], ids=["whole", "cut off"])
@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("/v1/chat/completions", ChatCompletion, "max_tokens"),
        ("/v1/responses", Response, "max_output_tokens"),
        ("/v1/messages", Message, "max_tokens"),
    ],
)
async def test_a_complete_answer_has_its_clients_type(
    path: str, kind: Any, limit: str, cut: dict[str, int]
) -> None:
    more = {limit: cut["limit"]} if cut else {}
    TypeAdapter(kind).validate_python(await answer(path, **more))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", ChatCompletionChunk),
        ("/v1/responses", ResponseStreamEvent),
        ("/v1/messages", RawMessageStreamEvent),
    ],
)
async def test_every_event_of_a_stream_has_its_clients_type(path: str, kind: Any) -> None:
    usage = {"stream_options": {"include_usage": True}} if "chat" in path else {}
    found = await answer(path, stream=True, **usage)
    # Neither is in any of the clients' types.
    found = [event for event in found if event != "[DONE]" and event.get("type") != "ping"]
    assert len(found) > 10
    for event in found:
        TypeAdapter(kind).validate_python(event)


async def test_lists_have_their_clients_types() -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        made = (await client.post("/v1/responses", json={"input": "Hi"})).json()
        items = (await client.get(f"/v1/responses/{made['id']}/input_items")).json()
        models = (await client.get("/v1/models")).json()["data"]
    TypeAdapter(ResponseItemList).validate_python(items)
    TypeAdapter(list[Model]).validate_python(models)


@pytest.mark.parametrize("theirs", [False, True])
async def test_the_list_of_models_is_openais_and_anthropics_in_one(theirs: bool) -> None:
    backend = OpenAIBackend("nobody", "http://127.0.0.1:1", "x")
    model = (
        PassthroughModel("ours", backend, "vllm") if theirs else served(FakeBackend(ids("Hello")))
    )
    async with server(model) as client:
        listed = (await client.get("/v1/models")).json()
        shown = (await client.get(f"/v1/models/{model.name}")).json()
    TypeAdapter(list[Model]).validate_python(listed["data"])
    for each in (*listed["data"], shown):
        assert (each["object"], each["type"]) == ("model", "model")
        assert TypeAdapter(ModelInfo).validate_python(each).display_name == model.name
        assert datetime.fromisoformat(each["created_at"]).timestamp() == each["created"]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (
        model.name,
        model.name,
        False,
    )
