"""/v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import RequestError
from enginix.gateway.api.chat_input import functions, plain_messages, with_functions_only
from enginix.gateway.api.chat_reply import ChatDocument, ChatStream
from enginix.gateway.http.body import beside_loop, read, read_document
from enginix.gateway.http.document import WholeReply
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import gateway_of, models_of, note_prompt
from enginix.gateway.http.sse import EventStream
from enginix.gateway.passthrough.adapt import CHAT, plain_body
from enginix.gateway.passthrough.route import pass_through
from enginix.gateway.prompt.conversation import Conversation
from enginix.gateway.prompt.parameters import (
    among,
    check_choice,
    check_stream_options,
    counts_asked,
    refuse,
    stop_strings,
    unsupported,
)
from enginix.gateway.prompt.prepare import Options
from enginix.gateway.prompt.structured_output import guide_of, guide_param_of
from enginix.gateway.schema.chat import (
    AllowedChoice,
    ChatRequest,
    CustomTool,
    NamedCustom,
    NamedTool,
)
from enginix.generation.request import Guide

router = APIRouter(tags=["OpenAI"])

# One object: a new empty set takes 0.2 KB in each stream.
NO_NAMES: frozenset[str] = frozenset()

IMPOSSIBLE = {
    "functions": "send tools instead",
    "function_call": "send tool_choice instead",
    "audio": "this model writes text",
    "use_beam_search": "answers are sampled",
    "prompt_logprobs": "send echo and logprobs to /v1/completions",
}


@router.post("/v1/chat/completions", **described(ChatRequest, streams=True))
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, streamed or whole."""
    return await pass_through(request, answer_chat) or await answer_chat(request)


async def answer_chat(request: Request) -> Response:
    """The reply when this gateway separates reasoning and calls, not the model's own server."""
    gateway = gateway_of(request)
    chat = await read(request, ChatRequest)
    check_stream_options(chat.stream_options, chat.stream)
    model = models_of(request).resolve(chat.model, chat.engine)
    if not model.takes_messages:
        check(chat)
    guide = guide_of(chat)
    guided = guide is not None
    conversation = await beside_loop(request, conversation_of, chat, guided=guided)
    note_prompt(request, conversation.messages)
    sent = await sent_chat(request) if model.takes_messages else None
    options = options_of(chat, sent, guide)
    generation = await model.prepare(conversation, options, gateway.settings.request)
    customs = custom_names(chat)
    if chat.stream:
        stream = ChatStream(generation, chat.stream_options, customs)
        return EventStream(gateway, generation, stream)
    return WholeReply(gateway, generation, ChatDocument(generation, customs))


def custom_names(chat: ChatRequest) -> frozenset[str]:
    tools = chat.tools
    if not tools:
        return NO_NAMES
    return frozenset(tool.custom.name for tool in tools if isinstance(tool, CustomTool))


async def sent_chat(request: Request) -> Mapping[str, Any]:
    """The body as the client sent it, in OpenAI's own spelling and with no tools but functions."""
    sent = plain_body(CHAT, await read_document(request))
    return {**sent, "messages": with_functions_only(sent["messages"])}


def check(chat: ChatRequest) -> None:
    refuse(chat, IMPOSSIBLE)
    if chat.best_of not in (None, chat.n or 1):
        raise unsupported("best_of", "ask for n answers and choose")
    if chat.top_logprobs and not chat.logprobs:
        raise unsupported("top_logprobs", "send logprobs as true with it")
    if chat.modalities and chat.modalities != ["text"]:
        raise unsupported("modalities", "this model writes text")
    # Even an empty object asks for a search.
    if chat.web_search_options is not None:
        raise unsupported("web_search_options", "this server searches nothing; send tools")


def options_of(chat: ChatRequest, sent: Mapping[str, Any] | None, guide: Guide | None) -> Options:
    return Options(
        id_prefix="chatcmpl-",
        sent=sent,
        sampling=chat,
        guide=guide,
        guide_param=guide_param_of(chat),
        choices=chat.n or 1,
        max_tokens=chat.max_completion_tokens or chat.max_tokens,
        stop=stop_strings(chat.stop),
        stop_token_ids=tuple(chat.stop_token_ids or ()),
        ignore_end=bool(chat.ignore_eos),
        counts=counts_asked(chat.stream_options),
        logprobs=bool(chat.logprobs),
        top_logprobs=chat.top_logprobs or 0,
    )


def conversation_of(chat: ChatRequest, *, guided: bool) -> Conversation:
    tools = functions(chat.tools)
    choice = chat.tool_choice
    if isinstance(choice, AllowedChoice):
        names = [tool.name for tool in choice.allowed_tools.tools]
        tools = among(tools, names, "tool_choice.allowed_tools.tools")
        choice = choice.allowed_tools.mode
    name = choice.name if isinstance(choice, NamedTool | NamedCustom) else None
    must_call = name is not None or choice == "required"
    if must_call:
        known = [tool["function"]["name"] for tool in tools]
        check_choice(name, known, "tool_choice.function.name")
    if chat.continue_final_message and chat.messages and chat.messages[-1].role != "assistant":
        raise RequestError(
            "continue_final_message wants a last message of the assistant's, got one of role "
            f"{chat.messages[-1].role!r}",
            param="continue_final_message",
        )
    effort = chat.reasoning_effort
    template_variables = dict(chat.chat_template_kwargs or {})
    if effort is not None:
        template_variables.setdefault("reasoning_effort", effort)
    return Conversation(
        messages=plain_messages(chat.messages),
        tools=() if choice == "none" else tools,
        must_call=must_call,
        must_call_name=name,
        one_call=chat.parallel_tool_calls is False or name is not None,
        thinks=None if effort is None else effort != "none",
        continues=bool(chat.continue_final_message),
        guided=guided,
        template_variables=template_variables,
    )
