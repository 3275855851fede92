"""The response object of /v1/responses has every field that its clients require, everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.backend import EVERYTHING, FakeBackend
from fakes.chat_server import CHAT, chat_server, chunk, completion, event, texts
from gateway.harness import events, ids, served, server
from gateway.type_tables import check_type

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel
from enginix.gateway.prompt.defaults import SamplingDefaults

PATH = "/v1/responses"
# What Open Responses requires of a response -> the types it may have.
TEXT, NUMBER, NULL = str, (int, float), type(None)
REQUIRED: dict[str, tuple[Any, ...]] = {
    "id": (TEXT,),
    "object": (TEXT,),
    "created_at": (int,),
    "completed_at": (int, NULL),
    "status": (TEXT,),
    "incomplete_details": (dict, NULL),
    "model": (TEXT,),
    "previous_response_id": (TEXT, NULL),
    "instructions": (TEXT, NULL),
    "output": (list,),
    "error": (dict, NULL),
    "tools": (list,),
    "tool_choice": (TEXT, dict),
    "truncation": (TEXT,),
    "parallel_tool_calls": (bool,),
    "text": (dict,),
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "top_logprobs": (int,),
    "temperature": NUMBER,
    "reasoning": (dict, NULL),
    "usage": (dict, NULL),
    "max_output_tokens": (int, NULL),
    "max_tool_calls": (int, NULL),
    "store": (bool,),
    "background": (bool,),
    "service_tier": (TEXT,),
    "metadata": (dict,),
    "safety_identifier": (TEXT, NULL),
    "prompt_cache_key": (TEXT, NULL),
}
THOUGHT = "<think>\nI know that.\n</think>\n\nParis is it."
ECHOED = {
    "temperature": 0.5,
    "top_p": 0.75,
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "max_output_tokens": 20,
    "max_tool_calls": 3,
    "instructions": "Be brief.",
    "metadata": {"a": "b"},
    "safety_identifier": "me",
    "prompt_cache_key": "key",
    "user": "me",
    "parallel_tool_calls": False,
    "store": False,
    "truncation": "auto",
    "text": {
        "format": {
            "type": "json_schema",
            "name": "joke",
            "description": "A joke.",
            "schema": {"type": "object"},
            "strict": True,
        }
    },
}


def check(response: dict[str, Any]) -> None:
    for name, kinds in REQUIRED.items():
        assert name in response, name
        assert isinstance(response[name], kinds), (name, response[name])
    check_type("Response", response)


async def ask(backend: FakeBackend, **body: Any) -> dict[str, Any]:
    async with server(served(backend)) as client:
        answer = await client.post(PATH, json={"input": "Hi", **body})
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        whole: dict[str, Any] = answer.json()
        return whole
    seen = events(answer.text)
    for each in seen:
        check_type("ResponseStreamEvent", each)
        if "response" in each:
            check(each["response"])
    last: dict[str, Any] = seen[-1]["response"]
    return last


@pytest.mark.parametrize("stream", [False, True])
async def test_every_required_field_is_there_and_of_its_type(stream: bool) -> None:
    response = await ask(FakeBackend(ids(THOUGHT)), stream=stream)
    check(response)
    assert response["completed_at"] >= response["created_at"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_cut_has_every_field_and_was_not_completed(stream: bool) -> None:
    response = await ask(FakeBackend(ids(THOUGHT)), stream=stream, max_output_tokens=3)
    check(response)
    assert (response["status"], response["completed_at"]) == ("incomplete", None)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_response_echoes_the_request(stream: bool) -> None:
    response = await ask(FakeBackend(ids("Yes.")), stream=stream, **ECHOED)
    assert {name: response[name] for name in ECHOED} == ECHOED


async def test_options_not_sent_have_the_makers_defaults() -> None:
    model = served(FakeBackend(ids("Yes.")), defaults=SamplingDefaults(temperature=0.6, top_p=0.9))
    async with server(model) as client:
        response = (await client.post(PATH, json={"input": "Hi"})).json()
    assert (response["temperature"], response["top_p"]) == (0.6, 0.9)


async def test_penalties_reach_the_engine() -> None:
    backend = FakeBackend(ids("Yes."))
    await ask(backend, presence_penalty=0.5, frequency_penalty=-0.5)
    sampling = backend.asked[0].sampling
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -0.5)


async def test_another_servers_answer_has_every_field_and_it_gets_every_option() -> None:
    async with (
        chat_server(completion(*texts("Yes."))) as (stand_in, url),
        server(PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")) as client,
    ):
        asked = {"model": "ours", "input": "Hi", "seed": 7, **ECHOED}
        whole = (await client.post(PATH, json=asked)).json()
        seen = events((await client.post(PATH, json={**asked, "stream": True})).text)
    for response in (whole, *(each["response"] for each in seen if "response" in each)):
        check(response)
    first, _ = stand_in.asked_at(CHAT)
    assert (first["presence_penalty"], first["frequency_penalty"]) == (0.25, -0.25)
    assert first["seed"] == 7


BOTH = [{"top_logprobs": 2}, {"include": ["message.output_text.logprobs"]}]


def with_top() -> FakeBackend:
    return FakeBackend(ids(THOUGHT), supported=EVERYTHING | {"top_logprobs"})


@pytest.mark.parametrize("wish", BOTH, ids=["top_logprobs", "include"])
@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_are_those_of_the_answers_text(
    wish: dict[str, Any], stream: bool
) -> None:
    response = await ask(with_top(), stream=stream, **wish)
    (content,) = response["output"][-1]["content"]
    spelled = b"".join(bytes(entry["bytes"]) for entry in content["logprobs"])
    assert spelled.decode() == content["text"] == "Paris is it."
    assert all(entry["logprob"] <= 0 for entry in content["logprobs"])
    tops = [len(entry["top_logprobs"]) for entry in content["logprobs"]]
    assert all(top == (2 if "top_logprobs" in wish else 0) for top in tops)


async def test_streamed_log_probabilities_add_up_to_the_complete_ones() -> None:
    async with server(served(with_top())) as client:
        body = {"input": "Hi", "stream": True, "top_logprobs": 2}
        seen = events((await client.post(PATH, json=body)).text)
    deltas = [each for each in seen if each["type"] == "response.output_text.delta"]
    for each in deltas:
        spelled = b"".join(bytes(entry["bytes"]) for entry in each["logprobs"])
        assert spelled.decode() == each["delta"]
    (done,) = [each for each in seen if each["type"] == "response.output_text.done"]
    heard = [entry for each in deltas for entry in each["logprobs"]]
    assert heard == done["logprobs"] == seen[-1]["response"]["output"][-1]["content"][0]["logprobs"]


async def test_log_probabilities_are_absent_by_default() -> None:
    response = await ask(FakeBackend(ids(THOUGHT)))
    assert response["output"][-1]["content"][0]["logprobs"] == []


async def test_an_engine_that_has_no_others_refuses_under_the_parameters_name() -> None:
    async with server(served(FakeBackend(ids("Yes.")))) as client:
        answer = await client.post(PATH, json={"input": "Hi", "top_logprobs": 2})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "top_logprobs")


@pytest.mark.parametrize("stream", [False, True])
async def test_another_servers_log_probabilities_are_shown(stream: bool) -> None:
    entry = {"token": "Yes.", "logprob": -0.5, "bytes": [89, 101, 115, 46], "top_logprobs": []}
    said = [
        chunk({"content": "Yes."}, logprobs={"content": [entry]}),
        chunk({}, "stop"),
        event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        b"data: [DONE]\n\n",
    ]
    async with (
        chat_server(said) as (stand_in, url),
        server(PassthroughModel("ours", OpenAIBackend("it", url, "x"), "vllm")) as client,
    ):
        body = {"model": "ours", "input": "Hi", "top_logprobs": 1, "stream": stream}
        answer = await client.post(PATH, json=body)
    response = events(answer.text)[-1]["response"] if stream else answer.json()
    assert response["output"][0]["content"][0]["logprobs"] == [entry]
    (asked,) = stand_in.asked_at(CHAT)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 1)


async def test_an_item_of_a_stored_answer_can_be_referred_to() -> None:
    backend = FakeBackend(ids("<think>\nHm.\n</think>\n\nFirst."), ids("Second."))
    async with server(served(backend)) as client:
        first = (await client.post(PATH, json={"input": "One?"})).json()
        references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
        again = [
            {"role": "user", "content": "One?"},
            *references,
            {"role": "user", "content": "Two?"},
        ]
        second = await client.post(PATH, json={"input": again})
        gone = await client.post(PATH, json={"input": [{"id": "msg_gone"}]})
        await client.delete(f"{PATH}/{first['id']}")
        forgotten = await client.post(PATH, json={"input": again})
    assert second.status_code == 200, second.text
    prompt = served(backend).tokenizer.decode(backend.asked[1].prompt_ids)
    assert prompt.index("One?") < prompt.index("First.") < prompt.index("Two?")
    assert (gone.status_code, gone.json()["error"]["param"]) == (400, "input[0]")
    assert forgotten.status_code == 400
