"""/v1/messages and /v1/messages/count_tokens: Anthropic's dialect, as Claude Code speaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enginix.errors import RequestError
from enginix.gateway.api.messages_reply import MessageDocument, MessageStream
from enginix.gateway.ask import AnyAsk
from enginix.gateway.asking import Options, chat_ask
from enginix.gateway.body import read
from enginix.gateway.conversation import Conversation, prompt_of
from enginix.gateway.document import WholeReply
from enginix.gateway.models import Model, RelayedModel, ServedModel
from enginix.gateway.openapi import described
from enginix.gateway.parameters import check_choice, missing, stop_strings
from enginix.gateway.relay import relay
from enginix.gateway.sampling import sampling_of
from enginix.gateway.schema.fields import SamplingFields
from enginix.gateway.schema.messages import Block, CountRequest, Message, MessagesRequest, Tool
from enginix.gateway.settings import RequestLimits
from enginix.gateway.sse import EventStream
from enginix.gateway.state import gateway_of, note_prompt, record_of
from enginix.gateway.upstream.count import count_prompt
from enginix.gateway.upstream.question import relayed_ask
from enginix.triton.request import Guide

router = APIRouter(tags=["Anthropic"])


@router.post("/v1/messages", **described(MessagesRequest, streams=True))
async def create_message(request: Request) -> Response:
    """Answer a conversation, streamed or whole."""
    return await relay(request, answer_message) or await answer_message(request)


async def answer_message(request: Request) -> Response:
    """The answer of a model of ours, or of a server that does not speak this dialect itself."""
    gateway = gateway_of(request)
    asked = await read(request, MessagesRequest)
    model = gateway.models.resolve(asked.model)
    conversation = conversation_of(asked, images=isinstance(model, RelayedModel))
    note_prompt(request, conversation.messages)
    ask = await ask_of(asked, model, conversation, gateway.settings.request)
    if asked.stream:
        return EventStream(gateway, ask, MessageStream(ask))
    return WholeReply(gateway, ask, MessageDocument(ask))


@router.post("/v1/messages/count_tokens", **described(CountRequest))
async def count_tokens(request: Request) -> Response:
    """How many tokens the model would read."""
    return await relay(request, answer_count) or await answer_count(request)


async def answer_count(request: Request) -> Response:
    asked = await read(request, CountRequest)
    model = gateway_of(request).models.resolve(asked.model)
    conversation = conversation_of(asked, images=isinstance(model, RelayedModel))
    if isinstance(model, RelayedModel):
        count = await count_prompt(model, conversation, record_of(request).id)
    else:
        count = len((await prompt_of(model, conversation)).ids)
    return JSONResponse({"input_tokens": count})


async def ask_of(
    asked: MessagesRequest, model: Model, conversation: Conversation, limits: RequestLimits
) -> AnyAsk:
    if isinstance(model, RelayedModel):
        if asked.thinking is None:
            # Not every template can be told not to; its server knows what it does then.
            conversation = replace(conversation, thinks=None)
        return relayed_ask("msg_", model, conversation, wishes_of(asked), guide_of(asked))
    return await chat_ask("msg_", model, conversation, options_of(asked, model), limits)


def wishes_of(asked: MessagesRequest) -> dict[str, Any]:
    """The same options in the words of chat completions."""
    return {
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k or None,
        "stop": list(stop_strings(asked.stop_sequences, "stop_sequences")) or None,
    }


def conversation_of(asked: CountRequest, *, images: bool = False) -> Conversation:
    """`images`: whoever reads the conversation reads them, too."""
    messages: list[dict[str, Any]] = []
    if asked.system:
        messages.append({"role": "system", "content": plain_text(asked.system, "system")})
    for place, message in enumerate(asked.messages):
        messages += plain_messages(message, f"messages[{place}]", images=images)
    # What the server itself would do, such as searching the web, this one has no means for.
    tools = [tool for tool in asked.tools or () if tool.type in (None, "custom")]
    choice = asked.tool_choice
    name = choice.name if choice and choice.type == "tool" else None
    must_call = choice is not None and choice.type in ("any", "tool")
    if choice and choice.type == "tool" and name is None:
        raise missing("tool_choice.name")
    if must_call:
        check_choice(name, [tool.name for tool in tools], "tool_choice.name")
    return Conversation(
        messages=messages,
        tools=() if choice and choice.type == "none" else tuple(map(function_tool, tools)),
        must_call=must_call,
        must_call_name=name,
        one_call=name is not None or bool(choice and choice.disable_parallel_tool_use),
        # Anthropic's models think only when told to.
        thinks=asked.thinking is not None and asked.thinking.type != "disabled",
        continues=begins_the_answer(messages),
        guided=guide_of(asked) is not None,
    )


def begins_the_answer(messages: Sequence[dict[str, Any]]) -> bool:
    """Anthropic's way to begin an answer: the last message is the assistant's own."""
    last = messages[-1] if messages else {}
    return last.get("role") == "assistant" and bool(last["content"]) and "tool_calls" not in last


def options_of(asked: MessagesRequest, model: ServedModel) -> Options:
    fields = SamplingFields(temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k)
    return Options(
        sampling=sampling_of(fields, model.defaults, guide_of(asked)),
        max_tokens=asked.max_tokens,
        guide_param="output_config.format",
        stop=stop_strings(asked.stop_sequences, "stop_sequences"),
        stop_param="stop_sequences",
    )


def guide_of(asked: CountRequest) -> Guide | None:
    format = asked.output_config.format if asked.output_config else None
    return Guide("json_schema", orjson.dumps(format.schema_).decode()) if format else None


def function_tool(tool: Tool) -> dict[str, Any]:
    """The same tool as chat templates know it, in the order that models were trained on."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.input_schema or {"type": "object", "properties": {}}
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def plain_messages(message: Message, where: str, *, images: bool) -> list[dict[str, Any]]:
    """One message of blocks as the messages that chat templates know."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    if message.role == "assistant":
        return [assistant_message(message.content, f"{where}.content")]
    return user_messages(message.role, message.content, f"{where}.content", images=images)


def assistant_message(blocks: Sequence[Block], where: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for place, block in enumerate(blocks):
        match block.type:
            case "text":
                message["content"] += block.text or ""
            case "thinking":
                message["reasoning_content"] = block.thinking or ""
            case "redacted_thinking":
                pass
            case "tool_use":
                function = {"name": block.name or "", "arguments": block.input or {}}
                call = {"id": block.id, "type": "function", "function": function}
                message.setdefault("tool_calls", []).append(call)
            case _:
                raise unreadable(block, f"{where}[{place}]")
    return message


def user_messages(
    role: str, blocks: Sequence[Block], where: str, *, images: bool
) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        inside = f"{where}[{place}]"
        if block.type == "tool_result":
            result = plain_text(block.content or "", f"{inside}.content")
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": result})
        elif block.type == "text":
            text = block.text or ""
            if not messages or messages[-1]["role"] != role:
                messages.append({"role": role, "content": text})
            elif isinstance(messages[-1]["content"], str):
                messages[-1]["content"] += "\n" + text
            else:
                messages[-1]["content"].append({"type": "text", "text": text})
        elif block.type == "image" and images:
            if not messages or messages[-1]["role"] != role:
                messages.append({"role": role, "content": []})
            add_image(messages[-1], image_url(block, inside))
        else:
            raise unreadable(block, inside)
    return messages


def add_image(message: dict[str, Any], url: str) -> None:
    """Make the message one of parts, as chat completions have images."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = content = [{"type": "text", "text": content}]
    content.append({"type": "image_url", "image_url": {"url": url}})


def image_url(block: Block, where: str) -> str:
    source = block.source or {}
    match source.get("type"), source.get("media_type"), source.get("data"), source.get("url"):
        case "base64", str(kind), str(data), _:
            return f"data:{kind};base64,{data}"
        case "url", _, _, str(url):
            return url
    raise RequestError(
        f"{where}.source: expected base64 with media_type and data, or url with url",
        param=f"{where}.source",
    )


def plain_text(content: str | Sequence[Block], where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for place, block in enumerate(content):
        if block.type != "text":
            raise unreadable(block, f"{where}[{place}]")
        texts.append(block.text or "")
    return "\n".join(texts)


def unreadable(block: Block, where: str) -> RequestError:
    return RequestError(
        f"{where}: this model reads text, got a block of type {block.type!r}",
        param=f"{where}.type",
        code="unsupported_content",
    )
