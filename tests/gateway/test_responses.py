from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server

from enginix.errors import BackendUnavailable
from enginix.gateway.settings import Settings, StoreLimits

PATH = "/v1/responses"
THOUGHT = "<think>\nI know that.\n</think>\n\nParis."
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
IMAGE = {"type": "input_image"}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def ask(backend: FakeBackend, **body: Any) -> dict[str, Any]:
    async with server(served(backend)) as client:
        response = await client.post(PATH, json={"model": "demo", "input": "Hi", **body})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


async def stream(backend: FakeBackend, **body: Any) -> list[Any]:
    async with server(served(backend)) as client:
        response = await client.post(PATH, json={"input": "Hi", "stream": True, **body})
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert found[-1]["type"] == name.removeprefix("event: ")
    return found


def prompt_of(backend: FakeBackend) -> str:
    return served(backend).tokenizer.decode(backend.asked[-1].prompt_ids, keep=("<think>",))


async def test_reasoning_message_and_call_are_items() -> None:
    answer = await ask(FakeBackend(ids(THOUGHT)))
    reasoning, message = answer["output"]
    assert (reasoning["type"], message["type"]) == ("reasoning", "message")
    assert message["content"][0]["text"] == "Paris."
    assert answer["status"] == "completed"
    assert answer["usage"]["output_tokens"] == len(ids(THOUGHT))
    call = (await ask(FakeBackend(ids(CALL)), tools=[WEATHER]))["output"][0]
    assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"city": "Paris"})


async def test_an_answer_cut_off_is_incomplete_and_says_why() -> None:
    answer = await ask(FakeBackend(ids("One two three")), max_output_tokens=2)
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][-1]["status"] == "incomplete"


async def test_every_event_has_its_number_and_the_last_the_complete_response() -> None:
    found = await stream(FakeBackend(ids(THOUGHT)))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[0]["type"] == "response.created"
    assert found[-1]["type"] == "response.completed"
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["reasoning", "message"]


async def test_deltas_add_up_to_the_done_events_and_the_response() -> None:
    found = await stream(FakeBackend(ids(THOUGHT)))
    for kind, index in (("response.output_text", 1), ("response.reasoning_text", 0)):
        deltas = "".join(event["delta"] for event in found if event["type"] == f"{kind}.delta")
        (done,) = [event["text"] for event in found if event["type"] == f"{kind}.done"]
        whole = found[-1]["response"]["output"][index]["content"][0]["text"]
        assert deltas == done == whole


async def test_a_client_that_asks_for_a_summary_gets_the_reasoning_there() -> None:
    asked = {"reasoning": {"summary": "auto"}}
    found = await stream(FakeBackend(ids(THOUGHT)), **asked)
    name = "response.reasoning_summary_text"
    deltas = [event["delta"] for event in found if event["type"] == f"{name}.delta"]
    (done,) = [event for event in found if event["type"] == f"{name}.done"]
    assert "".join(deltas) == done["text"] == "I know that."
    assert done["summary_index"] == 0
    parts = [event["type"] for event in found if "reasoning_summary_part" in event["type"]]
    assert [part.rsplit(".", 1)[1] for part in parts] == ["added", "done"]
    item = (await ask(FakeBackend(ids(THOUGHT)), **asked))["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "I know that."}]
    assert "content" not in item
    last = found[-1]["response"]["output"][0]
    assert last["summary"] == item["summary"]


async def test_a_streamed_call_is_announced_spelled_and_closed() -> None:
    found = await stream(FakeBackend(ids(CALL)), tools=[WEATHER])
    added = next(event for event in found if event["type"] == "response.output_item.added")
    assert added["item"]["name"] == "get_weather"
    kind = "response.function_call_arguments"
    deltas = "".join(event["delta"] for event in found if event["type"] == f"{kind}.delta")
    (done,) = [event for event in found if event["type"] == f"{kind}.done"]
    assert deltas == done["arguments"]
    assert json.loads(deltas) == {"city": "Paris"}
    ends = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert ends == found[-1]["response"]["output"]


async def test_an_error_in_mid_stream_is_a_failed_response() -> None:
    backend = FakeBackend(ids("One two"), fails_at=1, error=BackendUnavailable("gone"))
    last = (await stream(backend))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "backend_unavailable", "message": "gone"}


async def test_input_tokens_are_counted_as_a_response_counts_them() -> None:
    backend = FakeBackend(ids("Paris."))
    async with server(served(backend)) as client:
        first = (await client.post(PATH, json={"input": "Hi"})).json()
        body = {
            "input": "And?",
            "instructions": "Be brief.",
            "previous_response_id": first["id"],
            "tools": [WEATHER],
        }
        counted = (await client.post(f"{PATH}/input_tokens", json=body)).json()
        answered = (await client.post(PATH, json=body)).json()
        empty = await client.post(f"{PATH}/input_tokens", json={})
    assert counted == {
        "object": "response.input_tokens",
        "input_tokens": answered["usage"]["input_tokens"],
    }
    assert len(backend.asked) == 2
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "input")


async def test_the_sampling_of_local_servers_reaches_the_engine() -> None:
    backend = FakeBackend(ids("Paris."))
    await ask(backend, top_k=40, seed=7, repetition_penalty=1.2, min_tokens=1, stop_token_ids=[5])
    (asked,) = backend.asked
    sampling = asked.sampling
    assert (sampling.top_k, sampling.seed, sampling.min_tokens) == (40, 7, 1)
    assert sampling.repetition_penalty == 1.2
    assert 5 in asked.stop_ids


async def test_a_token_that_is_given_often_ends_an_answer_once() -> None:
    backend = FakeBackend(ids("Paris."))
    await ask(backend, stop_token_ids=[7, 5] * 1000)
    (asked,) = backend.asked
    assert [token for token in asked.stop_ids if token in (5, 7)] == [7, 5]


async def test_items_become_messages_that_templates_read() -> None:
    backend = FakeBackend(ids("Mild."))
    await ask(
        backend,
        instructions="Be brief.",
        tools=[WEATHER, {"type": "web_search"}, {"type": "namespace", "tools": []}],
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "name": "get_weather", "arguments": '{"city": "Rome"}'},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "function_call_output", "output": "10 C"},
        ],
    )
    prompt = prompt_of(backend)
    assert "Be brief." in prompt
    assert "hm" in prompt
    assert "web_search" not in prompt
    assert prompt.index('"city": "Rome"') < prompt.index("10 C")


async def test_a_response_can_be_continued_shown_and_forgotten() -> None:
    backend = FakeBackend(ids("First."), ids("Second."))
    async with server(served(backend)) as client:
        first = (await client.post(PATH, json={"input": "One?"})).json()
        body = {"input": "Two?", "previous_response_id": first["id"]}
        await client.post(PATH, json=body)
        shown = await client.get(f"{PATH}/{first['id']}")
        items = await client.get(f"{PATH}/{first['id']}/input_items")
        deleted = await client.delete(f"{PATH}/{first['id']}")
        gone = await client.get(f"{PATH}/{first['id']}")
    prompt = prompt_of(backend)
    assert prompt.index("One?") < prompt.index("First.") < prompt.index("Two?")
    assert shown.json() == first
    assert items.json()["data"][0]["content"][0]["text"] == "One?"
    assert deleted.json()["deleted"] is True
    assert gone.status_code == 404


async def test_input_items_have_ids_and_types_and_come_page_by_page() -> None:
    said = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"type": "function_call", "id": "fc_mine", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "10"},
    ]
    async with server(served(FakeBackend(ids("First.")))) as client:
        made = (await client.post(PATH, json={"input": said})).json()
        items = f"{PATH}/{made['id']}/input_items"
        newest = (await client.get(items, params={"limit": 1})).json()
        after = {"order": "asc", "after": "fc_mine"}
        rest = (await client.get(items, params=after)).json()
        whole = (await client.get(items, params={"order": "asc"})).json()
    assert newest["data"][0]["type"] == "function_call_output"
    assert newest["first_id"] == newest["last_id"] == newest["data"][0]["id"]
    assert newest["has_more"] is True
    assert rest["data"] == newest["data"]
    assert [item["type"] for item in whole["data"][:3]] == ["message", "message", "function_call"]
    assert whole["data"][0]["content"] == [{"type": "input_text", "text": "One?"}]
    assert whole["data"][1]["content"] == [{"type": "output_text", "text": "Yes."}]
    assert whole["has_more"] is False


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1000"}, {"order": "up"}, {"after": "item_gone"}]
)
async def test_a_page_that_cannot_be_is_refused_by_its_parameter(query: dict[str, str]) -> None:
    async with server(served(FakeBackend(ids("First.")))) as client:
        made = (await client.post(PATH, json={"input": "One?"})).json()
        response = await client.get(f"{PATH}/{made['id']}/input_items", params=query)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == next(iter(query))


async def test_a_streamed_response_is_remembered_too() -> None:
    async with server(served(FakeBackend(ids("First.")))) as client:
        text = (await client.post(PATH, json={"input": "One?", "stream": True})).text
        last = json.loads(text.strip().rsplit("data: ", 1)[1])["response"]
        assert (await client.get(f"{PATH}/{last['id']}")).json() == last


async def test_a_response_with_store_false_is_not_stored() -> None:
    async with server(served(FakeBackend(ids("First.")))) as client:
        first = (await client.post(PATH, json={"input": "One?", "store": False})).json()
        shown = await client.get(f"{PATH}/{first['id']}")
    assert shown.status_code == 404


@pytest.mark.parametrize("store", [StoreLimits(responses=2), StoreLimits(bytes=4000)])
async def test_the_store_keeps_the_newest_within_its_bounds(store: StoreLimits) -> None:
    async with server(served(FakeBackend(ids("Hi"))), settings=Settings(store=store)) as client:
        made = [(await client.post(PATH, json={"input": "One?"})).json()["id"] for _ in range(6)]
        found = [(await client.get(f"{PATH}/{id}")).status_code for id in made]
    assert found[-1] == 200
    assert found[0] == 404
    assert 1 <= found.count(200) < 5


async def test_a_forced_function_is_called() -> None:
    backend = FakeBackend(ids('{"name": "get_weather", "arguments": {"city": "Rome"}}'))
    choice = {"type": "function", "name": "get_weather"}
    answer = await ask(backend, tools=[WEATHER], tool_choice=choice)
    assert json.loads(answer["output"][0]["arguments"]) == {"city": "Rome"}


async def test_tools_are_echoed_as_sent_and_functions_are_complete() -> None:
    unknown = {"type": "namespace", "name": "x", "tools": [{"type": "function", "name": "f"}]}
    include = ["reasoning.encrypted_content"]
    answer = await ask(FakeBackend(ids("Hi")), tools=[unknown, WEATHER], include=include)
    assert answer["tools"] == [unknown, {**WEATHER, "description": None, "strict": False}]


async def test_of_the_allowed_tools_only_those_are_shown() -> None:
    clock = {"type": "function", "name": "get_time"}
    allowed = [{"type": "function", "name": "get_time"}, {"type": "mcp", "server_label": "x"}]
    backend = FakeBackend(ids('{"name": "get_time", "arguments": {}}'), ids(""))
    choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
    answer = await ask(backend, tools=[WEATHER, clock], tool_choice=choice)
    assert answer["output"][0]["name"] == "get_time"
    assert "get_weather" not in prompt_of(backend)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "tool_choice.name"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}, "tools": [WEATHER]}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input[0].name"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input[0].content[0].image_url"),
        ({"previous_response_id": "resp_gone"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": "word " * 600}, "input"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_by_its_path(body: dict[str, Any], param: str) -> None:
    async with server(served(FakeBackend(ids("Hi")))) as client:
        response = await client.post(PATH, json={"input": "Hi", **body})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
