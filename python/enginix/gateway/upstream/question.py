"""What another server is asked: a conversation, in no dialect, as its own chat completion.

Only what the client asked for is sent, and only in fields that every one of these servers knows:
TensorRT-LLM's refuses a request for a single field that it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from enginix.chat.arguments import as_object, is_whole
from enginix.chat.messages import UNNAMED
from enginix.gateway.models.registry import RelayedModel
from enginix.gateway.prompt.conversation import Conversation, shown_tools
from enginix.gateway.prompt.images import readable, seen_by_user
from enginix.gateway.prompt.request import RelayedAsk, ReplyFormat
from enginix.generation.request import Guide

STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
# Engines whose servers can count with every chunk.
COUNTING = ("vllm", "trtllm")
# Newer words for how much to think -> those that all of them know.
EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
SWITCHES = ("enable_thinking", "thinking")
# What clients send back of what they were sent, and some servers refuse messages for.
REASONING = "reasoning_content"
# What models without eyes are told of instead.
IMAGES = "images"
REASONING_NAMES = (REASONING, "reasoning", "thinking")


def relayed_ask(
    prefix: str,
    model: RelayedModel,
    conversation: Conversation,
    wishes: Mapping[str, Any],
    guide: Guide | None = None,
    *,
    stop: tuple[str, ...] = (),
) -> RelayedAsk:
    """`wishes`: everything that is not in the conversation; None means not asked for.

    `stop`: the strings that end the answer. They are not sent: servers look for them in the
    reasoning and in calls, too.
    """
    messages = server_messages(model, conversation.messages)
    blind = server_messages(model, readable(conversation.messages))
    body: dict[str, Any] = {
        "model": model.backend.model,
        "messages": blind if model.backend.lacks(IMAGES) else messages,
        **wished_for(wishes),
        **conversations_wishes(model, conversation),
        **STREAMED,
    }
    if guide is not None:
        body["response_format"] = response_format(model, guide)
    format = reply_format(model, conversation, stop)
    identity = f"{prefix}{uuid4().hex}"
    body = counted(model, body, stop)
    return RelayedAsk(identity, model, body, format, blind=None if blind == messages else blind)


def wished_for(wishes: Mapping[str, Any]) -> dict[str, Any]:
    body = {name: wish for name, wish in wishes.items() if wish is not None}
    if body.get("top_p") == 0:
        # Greedy, as a number that all of them take.
        del body["top_p"]
        body["temperature"] = 0
    return body


def conversations_wishes(model: RelayedModel, conversation: Conversation) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if conversation.tools:
        body["tools"] = server_tools(model, conversation)
        body["tool_choice"] = tool_choice(model, conversation)
    if conversation.continues and model.engine == "vllm":
        # Others go on with a last message of the assistant's by themselves, or cannot.
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    effort = EFFORTS.get(str(conversation.template_variables.get("reasoning_effort")))
    if effort is not None:
        body["reasoning_effort"] = effort
    if conversation.thinks is False:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


def relayed_chat(
    model: RelayedModel,
    conversation: Conversation,
    asked: Mapping[str, Any],
    choices: int,
    *,
    stop: tuple[str, ...] = (),
) -> RelayedAsk:
    """A chat completion as it was `asked` for: the server may know fields that are unknown here."""
    body = {**asked, "model": model.backend.model, **STREAMED}
    body.pop("engine", None)
    if stop:
        del body["stop"]
    if model.backend.lacks(REASONING):
        body["messages"] = without_reasoning(asked["messages"])
    if conversation.tools:
        body["tools"] = server_tools(model, conversation)
        body["tool_choice"] = tool_choice(model, conversation)
    format = reply_format(model, conversation, stop)
    body = counted(model, body, stop)
    return RelayedAsk(f"chatcmpl-{uuid4().hex}", model, body, format, choices)


def counted(model: RelayedModel, body: dict[str, Any], stop: tuple[str, ...]) -> dict[str, Any]:
    """The same question, with counts in every chunk: an answer that is cut off has no last one."""
    if not stop or not model.engine.startswith(COUNTING):
        return body
    options = {**STREAMED["stream_options"], "continuous_usage_stats": True}
    return {**body, "stream_options": options}


def reply_format(
    model: RelayedModel, conversation: Conversation, stop: tuple[str, ...] = ()
) -> ReplyFormat:
    """How the answer's text is read; what holds it to a form leaves no room for reasoning."""
    variables = conversation.template_variables
    silent = conversation.thinks is False or any(variables.get(name) is False for name in SWITCHES)
    held = conversation.guided or conversation.must_call or conversation.continues
    return ReplyFormat(
        reasoning=model.reasoning,
        tools=model.tools,
        starts_inside=model.starts_inside and not (silent or held),
        definitions=conversation.tools,
        one_call=conversation.one_call,
        stop=stop,
    )


def server_tools(model: RelayedModel, conversation: Conversation) -> Sequence[Mapping[str, Any]]:
    if model.engine.startswith("trtllm"):
        # It knows no such field of a function as `strict`.
        return shown_tools(conversation.tools)
    return conversation.tools


def tool_choice(model: RelayedModel, conversation: Conversation) -> Any:
    if conversation.must_call_name is not None:
        return {"type": "function", "function": {"name": conversation.must_call_name}}
    if conversation.must_call:
        return "required"
    # A server without a parser of its own refuses "auto". With "none" it shows the model its
    # tools all the same and leaves the calls in the text, where ours finds them.
    return "none" if model.tools else "auto"


def server_messages(
    model: RelayedModel, messages: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Messages as OpenAI has them: chat templates' own take arguments as objects."""
    if model.backend.lacks(REASONING):
        messages = without_reasoning(messages)
    return [_server_message(message) for message in seen_by_user(messages)]


def without_reasoning(messages: Any) -> Any:
    """The same messages for a server that takes no reasoning in them, if they are any."""
    if not isinstance(messages, list | tuple):
        return messages
    return [
        {name: value for name, value in message.items() if name not in REASONING_NAMES}
        if isinstance(message, dict)
        else message
        for message in messages
    ]


def _server_message(message: Mapping[str, Any]) -> dict[str, Any]:
    if calls := message.get("tool_calls"):
        return {**message, "tool_calls": [server_call(call) for call in calls]}
    return dict(message)


def server_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Servers and their templates loop over the arguments, so they always get an object."""
    function = dict(call["function"])
    said = function.get("arguments")
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    if not is_whole(text := as_object(text)):
        text = orjson.dumps({UNNAMED: said}).decode()
    return {**call, "function": {**function, "arguments": text}}


def response_format(model: RelayedModel, guide: Guide) -> dict[str, Any]:
    """What an answer must look like, in the words of chat completions."""
    if guide.kind == "json":
        return {"type": "json_object"}
    schema = orjson.loads(guide.text or "{}")
    if model.engine.startswith("trtllm"):
        # The name that all of its versions know.
        return {"type": "json", "schema": schema}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
