"""From a conversation, in no dialect, to what is asked of the model: prompt, limits, formats."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from enginix.chat.template import starts_inside
from enginix.errors import PromptTooLong, RequestError
from enginix.gateway.ask import Ask, ReplyFormat
from enginix.gateway.forced_calls import call_beginning
from enginix.gateway.models import ServedModel
from enginix.gateway.sampling import check_supported, for_choice
from enginix.gateway.settings import RequestLimits
from enginix.triton.request import Sampling, TokenRequest

# Longer conversations are rendered beside the event loop, so that running streams go on.
LONG_CONVERSATION = 32 << 10
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
    guided: bool = False
    """The answer is held to a format from its first token on, so nothing may come before it."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Characters, roughly: for deciding where to do the work."""
        return sum(len(str(message.get("content") or "")) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything about the answers that is not in the conversation."""

    sampling: Sampling
    choices: int = 1
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    """What the dialect calls it."""
    guide_param: str = "response_format"
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_end: bool = False
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    ids: list[int]
    format: ReplyFormat
    param: str


async def chat_ask(
    prefix: str,
    model: ServedModel,
    conversation: Conversation,
    options: Options,
    limits: RequestLimits,
) -> Ask:
    """The Ask of a conversation; `prefix` begins its id."""
    if len(conversation.messages) > limits.messages:
        raise RequestError(
            f"{conversation.param}: {len(conversation.messages)} of them, this server takes at "
            f"most {limits.messages}",
            param=conversation.param,
        )
    prompt = await prompt_of(model, conversation)
    return await ask_for(prefix, model, [prompt], options, limits)


async def prompt_of(model: ServedModel, conversation: Conversation) -> Prompt:
    if conversation.size > LONG_CONVERSATION:
        return await asyncio.to_thread(chat_prompt, model, conversation)
    return chat_prompt(model, conversation)


def chat_prompt(model: ServedModel, conversation: Conversation) -> Prompt:
    chat = model.manifest.chat
    if conversation.tools and chat.tools is None:
        raise RequestError(
            "this model has no tool-call format; leave tools out", param="tools",
            code="unsupported_parameter",
        )  # fmt: skip
    text = model.template.render(
        conversation.messages,
        conversation.tools or None,
        chat_template_kwargs=template_variables(conversation, chat.thinking_switch),
    )
    format = ReplyFormat(
        reasoning=chat.reasoning,
        tools=chat.tools,
        starts_inside=chat.reasoning is not None and starts_inside(text),
        definitions=conversation.tools,
        one_call=conversation.one_call,
    )
    format = replace(format, begun=begun(format, conversation))
    text += format.begun
    ids = model.tokenizer.encode(text)
    return Prompt(ids, format, conversation.param)


def template_variables(conversation: Conversation, switch: str | None) -> dict[str, Any]:
    """What the template is told: the client's own words first, then what follows from the rest."""
    variables = dict(conversation.template_variables)
    if switch and conversation.guided:
        variables.setdefault(switch, False)
    if switch and conversation.thinks is not None:
        variables.setdefault(switch, conversation.thinks)
    if switch and conversation.must_call:
        variables[switch] = False
    return variables


def begun(format: ReplyFormat, conversation: Conversation) -> str:
    """What is written for the model, so that it goes on as it must."""
    words = ""
    if format.starts_inside and (conversation.must_call or conversation.guided):
        words += END_OF_REASONING
    if conversation.must_call:
        words += call_beginning(format.tools, conversation.must_call_name)
    return words


async def ask_for(
    prefix: str,
    model: ServedModel,
    prompts: Sequence[Prompt],
    options: Options,
    limits: RequestLimits,
) -> Ask:
    """The Ask of prompts, each answered `options.choices` times."""
    check_limits(options, limits)
    check_choices(len(prompts), options.choices, limits)
    supported = await model.backend.supported()
    check_supported(options.sampling, supported)
    identity = f"{prefix}{uuid4().hex}"
    requests = tuple(
        _token_request(
            identity, place * options.choices + choice, model, prompt, options, limits, supported
        )
        for place, prompt in enumerate(prompts)
        for choice in range(options.choices)
    )
    return Ask(
        id=identity,
        model=model,
        requests=requests,
        format=replace(prompts[0].format, stop=options.stop),
        prompt_tokens=sum(len(prompt.ids) for prompt in prompts),
        guide_param=options.guide_param,
    )


def check_limits(options: Options, limits: RequestLimits) -> None:
    if len(options.stop) > limits.stop_strings:
        raise RequestError(
            f"stop: {len(options.stop)} strings, this server takes at most {limits.stop_strings}",
            param="stop",
        )
    most = limits.max_tokens
    if most is not None and options.max_tokens is not None and options.max_tokens > most:
        raise RequestError(
            f"{options.max_tokens_param}: {options.max_tokens} asked for, this server gives at "
            f"most {most}",
            param=options.max_tokens_param,
        )


def check_choices(prompts: int, choices: int, limits: RequestLimits) -> None:
    if prompts * choices > limits.choices:
        raise RequestError(
            f"{prompts * choices} answers were asked for, this server gives at most "
            f"{limits.choices} at once",
            param="n" if choices > 1 else "prompt",
        )


def _token_request(
    identity: str,
    index: int,
    model: ServedModel,
    prompt: Prompt,
    options: Options,
    limits: RequestLimits,
    supported: frozenset[str],
) -> TokenRequest:
    room = model.context - len(prompt.ids)
    if room < 1:
        raise PromptTooLong(len(prompt.ids), model.context, prompt.param)
    # More than fits is a wish for all there is: clients send the same number whatever the prompt.
    wishes = [room, options.max_tokens, limits.max_tokens]
    ends = () if options.ignore_end else model.tokenizer.stop_token_ids
    ends += tuple(token for token in options.stop_token_ids if token not in ends)
    return TokenRequest(
        # A list would keep a whole object for every token, as long as the stream is open.
        prompt_ids=array("i", prompt.ids),
        max_tokens=min(wish for wish in wishes if wish is not None),
        end_id=ends[0] if ends else None,
        stop_ids=ends[1:],
        sampling=for_choice(options.sampling, index, supported),
        logprobs=options.logprobs,
        request_id=identity if index == 0 else f"{identity}-{index}",
    )
