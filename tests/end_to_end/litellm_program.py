"""A program that uses the gateway through LiteLLM; prints its results as JSON.

A program of its own, because LiteLLM holds the `openai` package back at a version that the other
tests do not want: `litellm_program.py http://HOST:PORT`, run by a Python that has `litellm`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import litellm

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
DESCRIPTION = "Get the current weather in a city."
FUNCTION = {"name": "get_weather", "description": DESCRIPTION, "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


def chat(**invalid: Any) -> Any:
    return litellm.completion(model="openai/demo", temperature=0, api_key="sk-dummy", **invalid)


def whole(v1: str) -> Any:
    answer = chat(messages=QUESTION, api_base=v1)
    message = answer.choices[0].message
    return [message.content, message.reasoning_content, answer.usage.completion_tokens]


def streamed(v1: str) -> Any:
    usage = {"include_usage": True}
    chunks = list(chat(messages=QUESTION, api_base=v1, stream=True, stream_options=usage))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    message = rebuilt.choices[0].message
    return [message.content, message.reasoning_content, rebuilt.usage.completion_tokens]


def called(v1: str) -> Any:
    first = chat(messages=WEATHER, tools=TOOLS, api_base=v1).choices[0]
    (call,) = first.message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "10 degrees"}
    history = [*WEATHER, first.message.model_dump(), result]
    second = chat(messages=history, tools=TOOLS, api_base=v1).choices[0]
    return [first.finish_reason, call.function.arguments, second.finish_reason]


def streamed_call(v1: str) -> Any:
    chunks = list(chat(messages=WEATHER, tools=TOOLS, api_base=v1, stream=True))
    choice = litellm.stream_chunk_builder(chunks, messages=WEATHER).choices[0]
    return [choice.finish_reason, choice.message.tool_calls[0].function.arguments]


def response(v1: str) -> Any:
    found = litellm.responses(
        model="openai/demo", input=QUESTION[0]["content"], api_base=v1, api_key="x", temperature=0
    )
    return [found.status, [item.type for item in found.output]]


def through_anthropic(v1: str) -> Any:
    answer = litellm.completion(
        model="anthropic/demo",
        messages=QUESTION,
        api_base=v1.removesuffix("/v1"),
        api_key="x",
        max_tokens=100,
        temperature=0,
    )
    return answer.choices[0].message.content


def refused(v1: str) -> Any:
    names = []
    for invalid in ({"model": "openai/nobody"}, {"n": 99}):
        try:
            asked = {"model": "openai/demo", "messages": QUESTION, **invalid}
            litellm.completion(**asked, api_base=v1, api_key="x", max_retries=0)
        except (litellm.NotFoundError, litellm.BadRequestError) as error:
            names.append(type(error).__name__)
    return names


ASKED = (whole, streamed, called, streamed_call, response, through_anthropic, refused)

if __name__ == "__main__":
    print(json.dumps({ask.__name__: ask(f"{sys.argv[1]}/v1") for ask in ASKED}))
