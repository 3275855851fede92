"""/v1/responses: OpenAI's newer dialect, which Codex speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.chat.events import Answer, Reasoning
from enginix.errors import EnginixError, PromptTooLong, RequestError, ResourceNotFound
from enginix.gateway.api.responses_body import ResponseBody
from enginix.gateway.api.responses_choice import allowed_calls
from enginix.gateway.api.responses_input import Reader, tools_in
from enginix.gateway.api.responses_items import input_items, page_of
from enginix.gateway.api.responses_reply import ResponseDocument, ResponseStream
from enginix.gateway.api.responses_tools import Toolbox, toolbox
from enginix.gateway.http.body import checked, read
from enginix.gateway.http.document import WholeReply
from enginix.gateway.http.errors import failure_of
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import gateway_of, models_of, note_prompt, record_of
from enginix.gateway.http.sse import EventStream, FailedStream
from enginix.gateway.models.model import Model
from enginix.gateway.models.state import Gateway
from enginix.gateway.models.store import StoredResponse
from enginix.gateway.passthrough.route import pass_through
from enginix.gateway.prompt.conversation import Conversation
from enginix.gateway.prompt.parameters import missing, refuse, unsupported
from enginix.gateway.prompt.prepare import Options
from enginix.gateway.reply.parts import Part
from enginix.gateway.schema.responses import InputTokensRequest, ResponseRequest, Tool
from enginix.generation.request import Guide

router = APIRouter(tags=["OpenAI"])

Messages = Sequence[Mapping[str, Any]]
PlacedTools = Sequence[tuple[str, Tool]]

IMPOSSIBLE = {
    "background": "answers are made while the client waits; stream instead",
    "conversation": "send the conversation as input, or previous_response_id",
    "prompt": "no prompt templates are kept here; send instructions and input",
}
LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True, slots=True)
class GatheredRequest:
    """A request with the stored conversation that it continues."""

    request: ResponseRequest
    messages: Messages
    """Without the instructions, which apply to this request only."""
    late_tools: PlacedTools
    """Tools declared in the input, of this request and of earlier ones."""
    toolbox: Toolbox


@router.post("/v1/responses", **described(ResponseRequest, streams=True))
async def create_response(request: Request) -> Response:
    """Answer, streamed or whole, and store the answer unless `store` is false."""
    passed = await pass_through(request, answer_response, error_stream)
    return passed or await answer_response(request)


def error_stream(sent: Mapping[str, Any], model: Model, error: EnginixError) -> bytes | None:
    """A prompt's excess length as a stream: Codex shortens a conversation for that only."""
    if not isinstance(error, PromptTooLong):
        return None
    try:
        request = checked(sent, ResponseRequest)
    except RequestError:
        # The server reads more than this gateway does.
        return None
    stream = ResponseStream(ResponseBody(f"resp_{token_hex(16)}", model, request))
    return stream.begin() + stream.fail(failure_of(error))


async def answer_response(request: Request) -> Response:
    """The reply when this gateway writes the dialect, not the model's own server."""
    gateway = gateway_of(request)
    schema = await read(request, ResponseRequest)
    model = models_of(request).resolve(schema.model)
    refuse(schema, IMPOSSIBLE)
    asked = gather(schema, gateway, sees=model.takes_messages)
    conversation = conversation_of(asked)
    note_prompt(request, conversation.messages)
    try:
        options = options_of(schema)
        generation = await model.prepare(conversation, options, gateway.settings.request)
    except PromptTooLong as error:
        if not schema.stream:
            raise
        body = ResponseBody(f"resp_{token_hex(16)}", model, schema, asked.toolbox)
        return FailedStream(ResponseStream(body), error)
    body = ResponseBody(generation.id, model, schema, asked.toolbox)
    done = storing(gateway, asked, body)
    if schema.stream:
        stream = ResponseStream(body, done)
        return EventStream(gateway, generation, stream, streamed_error=PromptTooLong)
    return WholeReply(gateway, generation, ResponseDocument(body, done))


@router.post("/v1/responses/input_tokens", **described(InputTokensRequest))
async def count_input_tokens(request: Request) -> dict[str, Any]:
    """How many tokens the model would read."""
    schema = await read(request, InputTokensRequest)
    model = models_of(request).resolve(schema.model)
    refuse(schema, IMPOSSIBLE)
    asked = gather(schema, gateway_of(request), sees=model.takes_messages)
    count = await model.count(conversation_of(asked), record_of(request).id)
    return {"object": "response.input_tokens", "input_tokens": count}


@router.get("/v1/responses/{response_id}")
async def show_response(request: Request, response_id: str) -> Response:
    """A stored response."""
    if request.query_params.get("stream") == "true":
        raise unsupported("stream", "a finished response is shown whole")
    stored = gateway_of(request).responses.get(response_id)
    return Response(stored.body, media_type="application/json")


@router.get("/v1/responses/{response_id}/input_items")
async def list_input_items(request: Request, response_id: str) -> Response:
    """The input of a stored response."""
    stored = gateway_of(request).responses.get(response_id)
    page = page_of(orjson.loads(stored.input_items), request.query_params)
    return Response(orjson.dumps(page), media_type="application/json")


@router.delete("/v1/responses/{response_id}")
async def delete_response(request: Request, response_id: str) -> dict[str, Any]:
    """Delete a stored response."""
    gateway_of(request).responses.remove(response_id)
    return {"id": response_id, "object": "response", "deleted": True}


def gather(asked: ResponseRequest, gateway: Gateway, *, sees: bool) -> GatheredRequest:
    """`sees`: the model's server may read images."""
    earlier: Messages = ()
    late_tools: PlacedTools = ()
    if asked.previous_response_id is not None:
        try:
            previous = gateway.responses.get(asked.previous_response_id)
        except ResourceNotFound as error:
            raise RequestError(
                str(error), param="previous_response_id", code="previous_response_not_found"
            ) from None
        earlier, late_tools = previous.messages, previous.tools
    late_tools = [*late_tools, *tools_in(asked.input)]
    own = [(f"tools[{place}]", tool) for place, tool in enumerate(asked.tools or ())]
    tools = toolbox([*own, *late_tools])
    reader = Reader(tools, sees, gateway.responses.item)
    messages = [*earlier, *reader.messages(asked.input)]
    if not messages and not asked.instructions:
        raise RequestError("input is empty; send at least one item", param="input")
    return GatheredRequest(asked, messages, late_tools, tools)


def conversation_of(gathered: GatheredRequest) -> Conversation:
    asked = gathered.request
    tools, must_call, name = allowed_calls(gathered.toolbox, asked.tool_choice)
    instructions = [{"role": "system", "content": asked.instructions}]
    effort = asked.reasoning.effort if asked.reasoning else None
    return Conversation(
        messages=[*(instructions if asked.instructions else ()), *gathered.messages],
        param="input",
        tools=tools,
        must_call=must_call,
        must_call_name=name,
        one_call=name is not None or asked.parallel_tool_calls is False,
        thinks=None if effort is None else effort != "none",
        guided=guide_of(asked) is not None,
        template_variables={"reasoning_effort": effort} if effort else {},
    )


def wants_logprobs(asked: ResponseRequest) -> bool:
    return bool(asked.top_logprobs) or LOGPROBS in (asked.include or ())


def options_of(asked: ResponseRequest) -> Options:
    return Options(
        id_prefix="resp_",
        sampling=asked,
        guide=guide_of(asked),
        max_tokens=asked.max_output_tokens,
        max_tokens_param="max_output_tokens",
        guide_param="text.format",
        stop_token_ids=tuple(asked.stop_token_ids or ()),
        ignore_end=bool(asked.ignore_eos),
        logprobs=wants_logprobs(asked),
        top_logprobs=asked.top_logprobs or 0,
    )


def guide_of(asked: ResponseRequest) -> Guide | None:
    format = asked.text.format if asked.text else None
    if format is None or format.type == "text":
        return None
    if format.type == "json_object":
        return Guide("json")
    if format.schema_ is None:
        raise missing("text.format.schema")
    return Guide("json_schema", orjson.dumps(format.schema_).decode())


def storing(
    gateway: Gateway, asked: GatheredRequest, response: ResponseBody
) -> Callable[[bytes, Sequence[Part]], None]:
    """A function that stores the finished response."""

    def remember(body: bytes, parts: Sequence[Part]) -> None:
        if asked.request.store is False:
            return
        # A call that was cut off has no item.
        made = {part.index: response.item(part, "completed") for part in parts}
        kept = [part for part in parts if made[part.index] is not None]
        messages = [*asked.messages, answer_message(kept)]
        items = orjson.dumps(input_items(asked.request.input))
        size = len(body) + len(items) + sum(len(str(message)) for message in messages)
        ids = tuple(response.item_id(part) for part in kept)
        stored = StoredResponse(body, messages, items, size, asked.late_tools, ids)
        gateway.responses.put(response.id, stored)

    return remember


def answer_message(parts: Sequence[Part]) -> dict[str, Any]:
    """The answer as a message for the next request's chat template."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    thoughts: list[str] = []
    for part in parts:
        if part.kind is Answer:
            message["content"] += part.text
        elif part.kind is Reasoning:
            thoughts.append(part.text)
        elif part.call is not None:
            function = {"name": part.call.name, "arguments": part.text}
            call = {"id": part.call.id, "type": "function", "function": function}
            message.setdefault("tool_calls", []).append(call)
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    return message
