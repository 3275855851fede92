"""Anthropic's threads: clients that leave the conversation to the server, which keeps none here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import ChatServer, chat_server, completion, texts
from gateway.harness import ids, served, server

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.model import Model
from enginix.gateway.models.registry import PassthroughModel

anthropic = pytest.importorskip("anthropic", reason="not packaged everywhere")
if not hasattr(anthropic.resources.beta.messages.Messages, "thread"):
    pytest.skip("this release of anthropic has no threads", allow_module_level=True)

PATH = "/v1/messages"
QUESTIONS = ("My name is Ada.", "What is my name?")
MESSAGE = {
    "id": "msg_theirs",
    "type": "message",
    "role": "assistant",
    "model": "theirs",
    "content": [{"type": "text", "text": "Ada."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


async def two_turns(model: Model, *, streamed: bool = False) -> list[str]:
    """The answers to both questions, in one thread of the `anthropic` package."""
    async with server(model) as http:
        client = anthropic.AsyncAnthropic(base_url=str(http.base_url), api_key="x", max_retries=0)
        thread = client.beta.messages.thread(model=model.name, max_tokens=20)
        answers = []
        for question in QUESTIONS:
            message: Any = {"role": "user", "content": question}
            if streamed:
                async with thread.stream(message) as stream:
                    answer = await stream.get_final_message()
            else:
                answer = await thread.send(message)
            answers.append(answer.content[0].text)
        await client.close()
    return answers


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_threads_second_turn_has_its_first(streamed: bool) -> None:
    backend = FakeBackend(ids("Hello."), ids("Ada."))
    model = served(backend)
    assert await two_turns(model, streamed=streamed) == ["Hello.", "Ada."]
    prompts = [model.tokenizer.decode(asked.prompt_ids) for asked in backend.asked]
    assert [all(text in prompt for text in QUESTIONS) for prompt in prompts] == [False, True]


def turns_of(stand_in: ChatServer) -> list[str]:
    return [json.dumps(body["messages"]) for _, body in stand_in.asked]


async def test_so_has_one_of_a_server_that_ignores_threads() -> None:
    async with chat_server(completion(*texts("Ada."))) as (stand_in, url):
        stand_in.routes[PATH] = lambda _: json.dumps(MESSAGE).encode()
        backend = OpenAIBackend("stand-in", url, "theirs")
        await two_turns(PassthroughModel("ours", backend, "vllm"))
    assert all(text in turns_of(stand_in)[-1] for text in QUESTIONS)


async def test_the_turn_of_an_unknown_thread_is_anthropics_404() -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    body = {"model": "demo", "max_tokens": 5, "thread": thread}
    body["messages"] = [{"role": "user", "content": "And?"}]
    async with server(served(FakeBackend(ids("Hi")))) as client:
        response = await client.post(PATH, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (404, "not_found_error")
    assert error["details"] == {"error_code": "thread_not_found"}
