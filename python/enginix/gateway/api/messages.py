"""/v1/messages and /v1/messages/count_tokens: Anthropic's dialect, as Claude Code speaks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix.errors import ThreadNotFound
from enginix.gateway.api.messages_input import plain_conversation
from enginix.gateway.api.messages_reply import MessageDocument, MessageStream
from enginix.gateway.api.messages_tools import function_tools
from enginix.gateway.http.body import beside_loop, read
from enginix.gateway.http.document import WholeReply
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import gateway_of, models_of, note_prompt, record_of
from enginix.gateway.http.sse import EventStream
from enginix.gateway.models.model import Model
from enginix.gateway.passthrough.route import pass_through
from enginix.gateway.prompt.conversation import Conversation
from enginix.gateway.prompt.parameters import check_choice, missing, stop_strings
from enginix.gateway.prompt.prepare import Options
from enginix.gateway.schema.fields import SamplingFields
from enginix.gateway.schema.messages import CountRequest, MessagesRequest
from enginix.generation.request import Guide

router = APIRouter(tags=["Anthropic"])


@router.post("/v1/messages", **described(MessagesRequest, streams=True))
async def create_message(request: Request) -> Response:
    """Answer a conversation, streamed or whole."""
    return await pass_through(request, answer_message) or await answer_message(request)


async def answer_message(request: Request) -> Response:
    """The reply when this gateway writes the dialect, not the model's own server."""
    gateway = gateway_of(request)
    asked = await read(request, MessagesRequest)
    if asked.thread and asked.thread.type == "continue":
        raise ThreadNotFound
    model = models_of(request).resolve(asked.model)
    conversation = await beside_loop(request, conversation_of, asked, model)
    note_prompt(request, conversation.messages)
    generation = await model.prepare(conversation, options_of(asked), gateway.settings.request)
    if asked.stream:
        return EventStream(gateway, generation, MessageStream(generation))
    return WholeReply(gateway, generation, MessageDocument(generation))


@router.post("/v1/messages/count_tokens", **described(CountRequest))
async def count_tokens(request: Request) -> Response:
    """How many tokens the model would read."""
    return await pass_through(request, answer_count) or await answer_count(request)


async def answer_count(request: Request) -> Response:
    asked = await read(request, CountRequest)
    model = models_of(request).resolve(asked.model)
    conversation = await beside_loop(request, conversation_of, asked, model)
    count = await model.count(conversation, record_of(request).id)
    return JSONResponse({"input_tokens": count})


def conversation_of(asked: CountRequest, model: Model) -> Conversation:
    messages = plain_conversation(asked.system, asked.messages, sees=model.takes_messages)
    tools = tuple(function_tools(asked.tools))
    choice = asked.tool_choice
    name = choice.name if choice and choice.type == "tool" else None
    must_call = choice is not None and choice.type in ("any", "tool")
    if choice and choice.type == "tool" and name is None:
        raise missing("tool_choice.name")
    if must_call:
        known = [tool["function"]["name"] for tool in tools]
        check_choice(name, known, "tool_choice.name")
    return Conversation(
        messages=messages,
        tools=() if choice and choice.type == "none" else tools,
        must_call=must_call,
        must_call_name=name,
        one_call=name is not None or bool(choice and choice.disable_parallel_tool_use),
        thinks=thinks(asked, model),
        continues=begins_the_answer(messages),
        guided=guide_of(asked) is not None,
    )


def thinks(asked: CountRequest, model: Model) -> bool | None:
    """Whether to reason: by default not; None leaves it to the server's own template."""
    if asked.thinking is None:
        return None if model.takes_messages else False
    return asked.thinking.type != "disabled"


def begins_the_answer(messages: Sequence[dict[str, Any]]) -> bool:
    """Whether the last message is the assistant's: the start of an answer to continue."""
    last = messages[-1] if messages else {}
    return last.get("role") == "assistant" and bool(last["content"]) and "tool_calls" not in last


def options_of(asked: MessagesRequest) -> Options:
    return Options(
        id_prefix="msg_",
        sampling=SamplingFields(
            temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k
        ),
        guide=guide_of(asked),
        max_tokens=asked.max_tokens,
        guide_param="output_format" if asked.output_format else "output_config.format",
        stop=stop_strings(asked.stop_sequences),
        stop_param="stop_sequences",
    )


def guide_of(asked: CountRequest) -> Guide | None:
    format = (asked.output_config and asked.output_config.format) or asked.output_format
    return Guide("json_schema", orjson.dumps(format.schema_).decode()) if format else None
