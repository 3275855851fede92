"""What another server is asked: a conversation, in no dialect, as its own chat completion.

Only what was wished for is sent, and only in fields that every one of these servers knows:
TensorRT-LLM's refuses a request for a single field that it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from enginix.gateway.ask import RelayedAsk, ReplyFormat
from enginix.gateway.conversation import Conversation
from enginix.gateway.models import RelayedModel
from enginix.gateway.schema.chat import ChatRequest
from enginix.triton.request import Guide

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
# Newer words for how much to think -> those that all of them know.
EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
GUIDES = ("guided_json", "guided_regex", "guided_grammar", "guided_choice")
SWITCHES = ("enable_thinking", "thinking")
REASONING = ("reasoning_content", "reasoning", "thinking")


def relayed_ask(
    prefix: str, model: RelayedModel, conversation: Conversation, wishes: Mapping[str, Any]
) -> RelayedAsk:
    """`wishes`: everything that is not in the conversation; what is None is not wished for."""
    body: dict[str, Any] = {
        "model": model.backend.model,
        "messages": server_messages(conversation.messages),
        **{name: wish for name, wish in wishes.items() if wish is not None},
        **STREAMED,
    }
    if body.get("top_p") == 0:
        # Greedy, as a number that all of them take.
        del body["top_p"]
        body["temperature"] = 0
    if conversation.tools:
        body["tools"] = conversation.tools
        body["tool_choice"] = tool_choice(model, conversation)
    effort = EFFORTS.get(str(conversation.template_variables.get("reasoning_effort")))
    if effort is not None:
        body["reasoning_effort"] = effort
    if conversation.thinks is False:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    free = not (conversation.guided or conversation.must_call or conversation.thinks is False)
    format = reply_format(
        model, conversation.tools, one_call=conversation.one_call, thinks_first=free
    )
    return RelayedAsk(f"{prefix}{uuid4().hex}", model, body, format)


def relayed_chat(model: RelayedModel, chat: ChatRequest, asked: Mapping[str, Any]) -> RelayedAsk:
    """`asked` is `chat` as it was sent: the server may know fields that are unknown here."""
    body = {**asked, "model": model.backend.model, **STREAMED}
    tools = [tool.model_dump(exclude_unset=True) for tool in chat.tools or ()]
    if chat.tool_choice == "none":
        tools = []
    forced = chat.tool_choice not in (None, "none", "auto")
    if tools and model.tools and not forced:
        body["tool_choice"] = "none"
    guided = any(asked.get(name) for name in GUIDES) or (
        chat.response_format is not None and chat.response_format.type != "text"
    )
    variables = chat.chat_template_kwargs or {}
    silent = chat.reasoning_effort == "none" or any(
        variables.get(switch) is False for switch in SWITCHES
    )
    format = reply_format(
        model,
        tools,
        one_call=chat.parallel_tool_calls is False,
        thinks_first=not (guided or forced or silent),
    )
    return RelayedAsk(f"chatcmpl-{uuid4().hex}", model, body, format, chat.n or 1)


def reply_format(
    model: RelayedModel,
    tools: Sequence[Mapping[str, Any]],
    *,
    one_call: bool,
    thinks_first: bool,
) -> ReplyFormat:
    return ReplyFormat(
        reasoning=model.reasoning,
        tools=model.tools,
        starts_inside=model.starts_inside and thinks_first,
        definitions=tuple(tools),
        one_call=one_call,
    )


def tool_choice(model: RelayedModel, conversation: Conversation) -> Any:
    if conversation.must_call_name is not None:
        return {"type": "function", "function": {"name": conversation.must_call_name}}
    if conversation.must_call:
        return "required"
    # A server without a parser of its own refuses "auto". With "none" it shows the model its
    # tools all the same and leaves the calls in the text, where ours finds them.
    return "none" if model.tools else "auto"


def server_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as OpenAI has them: chat templates' own take arguments as objects."""
    return [_server_message(message) for message in messages]


def _server_message(message: Mapping[str, Any]) -> dict[str, Any]:
    # Some servers refuse messages for the reasoning in them.
    plain = {name: value for name, value in message.items() if name not in REASONING}
    if calls := plain.get("tool_calls"):
        plain["tool_calls"] = [_server_call(call) for call in calls]
    return plain


def _server_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if not isinstance(function.get("arguments"), str):
        function["arguments"] = orjson.dumps(function.get("arguments") or {}).decode()
    return {**call, "function": function}


def response_format(guide: Guide | None) -> dict[str, Any] | None:
    """What an answer must look like, in the words of chat completions."""
    if guide is None:
        return None
    if guide.kind == "json":
        return {"type": "json_object"}
    schema = orjson.loads(guide.text or "{}")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
