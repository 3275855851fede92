"""From a conversation, in no dialect, to the prompt that a model reads and how it will answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from enginix.chat.messages import plain_messages
from enginix.chat.template import starts_inside
from enginix.errors import RequestError
from enginix.gateway.ask import ReplyFormat
from enginix.gateway.forced_calls import call_beginning
from enginix.gateway.models import ServedModel

# Longer conversations are rendered beside the event loop, so that running streams go on.
LONG_CONVERSATION = 32 << 10
BEGIN_OF_REASONING = "<think>\n"
END_OF_REASONING = "\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What goes through the chat template, and how the reply is to be read."""

    messages: Sequence[Mapping[str, Any]]
    param: str = "messages"
    """What the dialect calls them."""
    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    must_call_name: str | None = None
    one_call: bool = False
    thinks: bool | None = None
    """Whether to reason first; None leaves it to the template."""
    continues: bool = False
    """The last message is the answer's beginning, behind which the model goes on."""
    guided: bool = False
    """The answer is held to a format from its first token on, so nothing may come before it."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Characters, roughly: for deciding where to do the work."""
        return sum(len(str(message.get("content") or "")) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Prompt:
    ids: list[int]
    format: ReplyFormat
    param: str


async def prompt_of(model: ServedModel, conversation: Conversation) -> Prompt:
    if conversation.size > LONG_CONVERSATION:
        return await asyncio.to_thread(chat_prompt, model, conversation)
    return chat_prompt(model, conversation)


def chat_prompt(model: ServedModel, conversation: Conversation) -> Prompt:
    chat = model.manifest.chat
    if conversation.tools and chat.tools is None:
        raise RequestError(
            "this model has no tool-call format; leave tools out",
            param="tools",
            code="unsupported_parameter",
        )
    variables = template_variables(conversation, chat.thinking_switch)
    messages, words = conversation.messages, ""
    if conversation.continues:
        words = last_words(conversation, model)
        messages = messages[:-1]
    text = model.template.render(
        messages, conversation.tools or None, chat_template_kwargs=variables
    )
    format = ReplyFormat(
        reasoning=chat.reasoning,
        tools=chat.tools,
        starts_inside=chat.reasoning is not None and starts_inside(text),
        definitions=conversation.tools,
        one_call=conversation.one_call,
        continues=bool(words),
    )
    wanted = chat.thinking_switch is not None and variables.get(chat.thinking_switch) is True
    if conversation.guided and wanted and chat.reasoning is not None:
        format = reasoning_first(format, model)
    else:
        format = replace(format, begun=begun(format, conversation))
    text += format.begun + words
    return Prompt(model.encode(text, conversation.param), format, conversation.param)


def last_words(conversation: Conversation, model: ServedModel) -> str:
    """What the client has written for the assistant. Raises where nothing can go on behind it."""
    if conversation.must_call or conversation.guided:
        raise RequestError(
            f"{conversation.param} end with the answer's beginning, behind which neither a call "
            "nor a form can be made sure of; leave that message or the other wish out",
            param=conversation.param,
        )
    last = plain_messages(conversation.messages[-1:], model.template.source)[0]
    return last["content"] or ""


def reasoning_first(format: ReplyFormat, model: ServedModel) -> ReplyFormat:
    """For a guided answer after reasoning that was asked for by name."""
    end = model.tokenizer.encode(END_OF_REASONING.lstrip())
    return replace(
        format,
        # A model that may leave the reasoning out would be free of the guide as well.
        begun="" if format.starts_inside else BEGIN_OF_REASONING,
        end_of_reasoning=tuple(end),
    )


def template_variables(conversation: Conversation, switch: str | None) -> dict[str, Any]:
    """What the template is told: the client's own words first, then what follows from the rest."""
    variables = dict(conversation.template_variables)
    if switch and conversation.thinks is not None:
        variables.setdefault(switch, conversation.thinks)
    if switch and (conversation.guided or conversation.continues):
        variables.setdefault(switch, False)
    if switch and conversation.must_call:
        variables[switch] = False
    return variables


def begun(format: ReplyFormat, conversation: Conversation) -> str:
    """What is written for the model, so that it goes on as it must."""
    words = ""
    at_once = conversation.must_call or conversation.guided or conversation.continues
    if format.starts_inside and at_once:
        words += END_OF_REASONING
    if conversation.must_call:
        words += call_beginning(format.tools, conversation.must_call_name)
    return words
