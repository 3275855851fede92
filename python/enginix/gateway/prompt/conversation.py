"""Turns a conversation, in no dialect, into the prompt and the format of its reply."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from enginix.chat.messages import plain_messages
from enginix.chat.template import starts_inside
from enginix.errors import RequestError, TemplateTooSlow
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.prompt.constraints import Constraints, constrained
from enginix.generation.reply import ReplyFormat
from enginix.generation.request import Guide

# Longer conversations are rendered in a thread, so that running streams continue.
LONG_CONVERSATION = 32 << 10
# A template's time limit on the event loop.
LOOP_SECONDS = 0.02
MANY_TOOLS = 32
# Each takes 10 to 20 us, however short it is.
MANY_MESSAGES = 400

T = TypeVar("T")


@dataclass(slots=True)
class Conversation:
    """The input of the chat template, and how to parse the reply."""

    messages: Sequence[Mapping[str, Any]]
    param: str = "messages"
    """The dialect's name for the messages."""
    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    must_call_name: str | None = None
    one_call: bool = False
    thinks: bool | None = None
    """Whether to reason first; None leaves it to the template."""
    continues: bool = False
    """The last message starts the answer, and the model continues it."""
    guided: bool = False
    """The answer is constrained from its first token on, so nothing may precede it."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_long(self) -> bool:
        """Whether to render it outside the event loop."""
        if len(self.tools) > MANY_TOOLS or len(self.messages) > MANY_MESSAGES:
            return True
        characters = 0
        for message in self.messages:
            characters += _characters(message)
            if characters > LONG_CONVERSATION:
                return True
        return False


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, (list, tuple)) else 0


@dataclass(slots=True)
class Prompt:
    ids: array[int]
    format: ReplyFormat
    param: str
    guide: Guide | None = None
    """The constraint on the whole reply, from its first token on."""


async def prompt_of(
    model: EngineModel,
    conversation: Conversation,
    answer: Guide | None = None,
    *,
    engine_guides: bool = True,
) -> Prompt:
    """`answer`: the constraint on the answer, if the engine supports it (`engine_guides`)."""
    chat = model.manifest.chat
    if conversation.tools and chat.tools is None:
        raise RequestError(
            "this model has no tool-call format; leave tools out",
            param="tools",
            code="unsupported_parameter",
        )
    messages, prefill = conversation.messages, ""
    if conversation.continues:
        prefill = answer_prefill(conversation, model)
        messages = messages[:-1]
    variables = template_variables(conversation, chat.thinking_switch)
    switched_on = chat.thinking_switch is not None and variables.get(chat.thinking_switch) is True
    constraints = Constraints(
        conversation.must_call,
        conversation.must_call_name,
        answer,
        reasons=chat.reasoning is not None and switched_on,
        engine_guides=engine_guides,
    )
    arguments = {
        "messages": messages,
        "tools": shown_tools(conversation.tools) or None,
        "chat_template_kwargs": variables,
    }
    then = partial(chat_prompt, model, conversation, constraints, prefill)
    return await rendered(model, arguments, then, is_long=conversation.is_long)


async def rendered(
    model: EngineModel, arguments: dict[str, Any], then: Callable[[str], T], *, is_long: bool
) -> T:
    """What `then` makes of the prompt; `arguments` are those of `ChatTemplate.render`.

    A short conversation is rendered at once, a long one in a thread, so that running streams
    continue, and every one in a process of its own for a while after the template was too slow.
    """
    template, loop = model.template, asyncio.get_running_loop()
    if not (is_long or template.slow):
        with suppress(TemplateTooSlow):
            return then(template.render(**arguments, seconds=LOOP_SECONDS))
    if template.slow:
        text = await model.render_process.render(template, arguments)
        return await loop.run_in_executor(model.renderer, then, text)

    def work() -> T:
        return then(template.render(**arguments))

    return await loop.run_in_executor(model.renderer, work)


def chat_prompt(
    model: EngineModel,
    conversation: Conversation,
    constraints: Constraints,
    prefill: str,
    text: str,
) -> Prompt:
    """The tokens of `text`, which the template has made of the conversation, and what follows."""
    chat = model.manifest.chat
    format = ReplyFormat(
        reasoning=chat.reasoning,
        tools=chat.tools,
        starts_inside=chat.reasoning is not None and starts_inside(text),
        definitions=conversation.tools,
        one_call=conversation.one_call,
        continues=bool(prefill),
    )
    format, guide = constrained(model, format, constraints)
    text += format.prefill + prefill
    return Prompt(model.encode(text, conversation.param), format, conversation.param, guide)


def shown_tools(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tools as the model sees them: without `strict`, which is for the server."""
    return [_without_strict(tool) for tool in tools]


def _without_strict(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping) or "strict" not in function:
        return tool
    return {**tool, "function": {key: function[key] for key in function if key != "strict"}}


def answer_prefill(conversation: Conversation, model: EngineModel) -> str:
    """The start of the answer, written by the client. Raises if nothing can continue it."""
    if conversation.must_call or conversation.guided:
        raise RequestError(
            f"{conversation.param} end with the start of the answer, after which neither a tool "
            "call nor a format can be enforced; leave out that message or the other option",
            param=conversation.param,
        )
    last = plain_messages(conversation.messages[-1:], model.template.source)[0]
    return last["content"] or ""


def template_variables(conversation: Conversation, switch: str | None) -> dict[str, Any]:
    """The template's variables: the client's own first, then those that the request implies."""
    variables = dict(conversation.template_variables)
    if switch and conversation.thinks is not None:
        variables.setdefault(switch, conversation.thinks)
    if switch and (conversation.guided or conversation.continues or conversation.must_call):
        variables.setdefault(switch, False)
    return variables
