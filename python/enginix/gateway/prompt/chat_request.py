"""Turns a conversation, in no dialect, into a chat completion for another server.

Only what the client asked for is sent, and only in fields that every one of these servers knows:
TensorRT-LLM's refuses a request for a single field that it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import orjson

from enginix.backends.openai.count import count_tokens
from enginix.backends.openai.negotiate import IMAGES, REASONING, without_reasoning
from enginix.backends.openai.translate import ChatCompletion, chat_replies
from enginix.chat.arguments import as_object, is_whole
from enginix.chat.messages import UNNAMED
from enginix.errors import ResourceNotFound
from enginix.gateway.models.server_model import ServerModel
from enginix.gateway.passthrough.adapt import keeps_stop_strings
from enginix.gateway.prompt.conversation import Conversation, shown_tools
from enginix.gateway.prompt.images import readable, seen_by_user
from enginix.gateway.prompt.prepare import Options, check_stop
from enginix.generation.reply import Arrived, Delivery, Replies, ReplyFormat
from enginix.generation.request import Guide, Origin

# Engines whose servers can send usage with every chunk.
COUNTING = ("vllm", "trtllm")
# Newer levels of reasoning effort -> those that every server knows.
EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
SWITCHES = ("enable_thinking", "thinking")


@dataclass(frozen=True, slots=True)
class ChatGeneration:
    """A request to a model whose server accepts chats."""

    id: str
    model: ServerModel
    chat: ChatCompletion
    prompt_tokens = 0
    prompts = 1
    counts = False

    @property
    def choices(self) -> int:
        return self.chat.choices

    def replies(
        self, origin: Origin, arrived: Sequence[Arrived], delivery: Delivery | None = None
    ) -> Replies:
        return chat_replies(self.model.backend, self.chat, origin, arrived)


def chat_request(
    model: ServerModel, conversation: Conversation, options: Options
) -> ChatGeneration:
    """Stop strings are not sent: servers would also match them in reasoning and in calls."""
    stop = () if options.sent and keeps_stop_strings(options.sent) else options.stop
    blind = None
    if stop:
        check_stop(options)
    if options.sent is None:
        body = {**sampling_fields(options), **conversation_fields(model, conversation)}
        body["messages"] = messages = server_messages(model, conversation.messages)
        without_images = server_messages(model, readable(conversation.messages))
        blind = None if without_images == messages else without_images
        if blind is not None and model.backend.lacks(IMAGES):
            body["messages"] = blind
        if options.guide is not None:
            body["response_format"] = response_format(model, options.guide)
    else:
        # The server may know fields that are unknown here.
        left_out = {"engine", *(["stop"] if stop else [])}
        left_out |= set() if model.takes_priority else {"priority"}
        body = {name: options.sent[name] for name in options.sent if name not in left_out}
        if model.backend.lacks(REASONING):
            body["messages"] = without_reasoning(body["messages"])
    if conversation.tools:
        body["tools"] = server_tools(model, conversation)
        body["tool_choice"] = tool_choice(model, conversation)
    body |= {**model.fields, "model": model.backend.model}
    body |= {"stream": True, "stream_options": counts(model, stop)}
    if model.strict:
        body = model.strict.fit(body, thinks=bool(model.reasoning) and may_think(conversation))
    format = reply_format(model, conversation, stop)
    chat = ChatCompletion(body, format, options.choices, blind)
    return ChatGeneration(f"{options.id_prefix}{token_hex(16)}", model, chat)


def counts(model: ServerModel, stop: tuple[str, ...]) -> dict[str, bool]:
    """Usage at the end, and in every chunk where stop strings may cut the reply before it."""
    usage = {"include_usage": True}
    if stop and model.engine.startswith(COUNTING):
        usage["continuous_usage_stats"] = True
    return usage


def sampling_fields(options: Options) -> dict[str, Any]:
    sampling = options.sampling
    fields = {
        "max_tokens": options.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or None,
        "min_p": sampling.min_p or None,
        "seed": sampling.seed,
        "repetition_penalty": sampling.repetition_penalty,
        "logit_bias": sampling.logit_bias or None,
        "presence_penalty": sampling.presence_penalty or None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "logprobs": options.logprobs or None,
        "top_logprobs": options.top_logprobs or None,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    if body.get("top_p") == 0:
        # Greedy, as a value that every server accepts.
        del body["top_p"]
        body["temperature"] = 0
    return body


def conversation_fields(model: ServerModel, conversation: Conversation) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if conversation.continues and model.engine == "vllm":
        # Other servers continue a last message of the assistant without a field for it, or cannot.
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    effort = EFFORTS.get(str(conversation.template_variables.get("reasoning_effort")))
    if effort is not None:
        body["reasoning_effort"] = effort
    if conversation.thinks is False:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


async def count_prompt(model: ServerModel, conversation: Conversation, request_id: str) -> int:
    """Raises ResourceNotFound, saying why, for a server that cannot count."""
    chat: dict[str, Any] = {
        "model": model.backend.model,
        "messages": server_messages(model, conversation.messages),
    }
    if conversation.tools:
        chat["tools"] = conversation.tools
    count = await count_tokens(model.backend, chat, request_id)
    if count is None:
        raise ResourceNotFound(
            f"{model.name} is served by {model.engine}, which counts no tokens of messages: it has "
            "neither /v1/messages/count_tokens nor a /tokenize that takes them; "
            "the usage of an answer says how many there were",
            code="unsupported_route",
        )
    return count


def reply_format(
    model: ServerModel, conversation: Conversation, stop: tuple[str, ...] = ()
) -> ReplyFormat:
    """How the answer's text is read; what holds it to a form leaves no room for reasoning."""
    silent = not may_think(conversation)
    held = conversation.guided or conversation.must_call or conversation.continues
    return ReplyFormat(
        reasoning=model.reasoning,
        tools=model.tools,
        starts_inside=model.starts_inside and not (silent or held),
        definitions=conversation.tools,
        one_call=conversation.one_call,
        stop=stop,
    )


def may_think(conversation: Conversation) -> bool:
    variables = conversation.template_variables
    off = any(variables.get(name) is False for name in SWITCHES)
    return conversation.thinks is not False and not off


def server_tools(model: ServerModel, conversation: Conversation) -> Sequence[Mapping[str, Any]]:
    if model.engine.startswith("trtllm"):
        # Its functions have no field `strict`.
        return shown_tools(conversation.tools)
    return conversation.tools


def tool_choice(model: ServerModel, conversation: Conversation) -> Any:
    if conversation.must_call_name is not None:
        return {"type": "function", "function": {"name": conversation.must_call_name}}
    if conversation.must_call:
        return "required"
    # A server without a parser of its own refuses "auto". With "none" it shows the model its
    # tools all the same and leaves the calls in the text, where ours finds them.
    return "none" if model.tools else "auto"


def server_messages(
    model: ServerModel, messages: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Messages as OpenAI has them: chat templates' own take arguments as objects."""
    if model.backend.lacks(REASONING):
        messages = without_reasoning(messages)
    return [_server_message(message) for message in seen_by_user(messages)]


def _server_message(message: Mapping[str, Any]) -> dict[str, Any]:
    if calls := message.get("tool_calls"):
        return {**message, "tool_calls": [server_call(call) for call in calls]}
    return dict(message)


def server_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Servers and their templates iterate over the arguments, so they always get an object."""
    function = dict(call["function"])
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    if not is_whole(text := as_object(text)):
        text = orjson.dumps({UNNAMED: arguments}).decode()
    return {**call, "function": {**function, "arguments": text}}


def response_format(model: ServerModel, guide: Guide) -> dict[str, Any]:
    """What an answer must look like, as chat completions spell it."""
    if guide.kind == "json":
        return {"type": "json_object"}
    schema = orjson.loads(guide.text or "{}")
    if model.engine.startswith("trtllm"):
        # The name that all its versions know.
        return {"type": "json", "schema": schema}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
