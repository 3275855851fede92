"""Turns prompts and options into token requests, within the limits."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from enginix.errors import PromptTooLong, RequestError
from enginix.gateway.models.registry import ServedModel
from enginix.gateway.prompt.constraints import require_guided_decoding
from enginix.gateway.prompt.conversation import Conversation, Prompt, prompt_of
from enginix.gateway.prompt.guide_limits import check_guide, check_schema
from enginix.gateway.prompt.request import Ask, ReplyFormat
from enginix.gateway.prompt.sampling import check_supported, for_choice
from enginix.gateway.settings import RequestLimits
from enginix.generation.request import Sampling, TokenRequest


@dataclass(frozen=True, slots=True)
class Options:
    """All options of the answers that are not part of the conversation."""

    sampling: Sampling
    choices: int = 1
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    """The dialect's name for it."""
    guide_param: str = "response_format"
    stop: tuple[str, ...] = ()
    stop_param: str = "stop"
    stop_token_ids: tuple[int, ...] = ()
    ignore_end: bool = False
    counts: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    top_logprobs_param: str = "top_logprobs"


async def chat_ask(
    prefix: str,
    model: ServedModel,
    conversation: Conversation,
    options: Options,
    limits: RequestLimits,
) -> Ask:
    """The request for a conversation; its id starts with `prefix`."""
    if len(conversation.messages) > limits.messages:
        raise RequestError(
            f"{conversation.param}: {len(conversation.messages)} of them, this server accepts at "
            f"most {limits.messages}",
            param=conversation.param,
        )
    check_limits(options, limits)
    engine_guides = "guide" in await model.backend.supported()
    answer = options.sampling.guide
    require_guided_decoding(
        engine_guides, conversation.must_call, answer is not None, options.guide_param
    )
    prompt = await prompt_of(model, conversation, answer, engine_guides=engine_guides)
    _check_calls(prompt, limits)
    options = replace(options, sampling=replace(options.sampling, guide=prompt.guide))
    return await ask_for(prefix, model, [prompt], options, limits)


async def ask_for(
    prefix: str,
    model: ServedModel,
    prompts: Sequence[Prompt],
    options: Options,
    limits: RequestLimits,
) -> Ask:
    """The request for prompts within their limits, each answered `options.choices` times."""
    check_choices(len(prompts), options.choices, limits)
    supported = await model.backend.supported()
    check_supported(options.sampling, supported)
    if options.top_logprobs and "top_logprobs" not in supported:
        raise RequestError(
            f"{options.top_logprobs_param}: this model's engine returns the log probability of "
            "the chosen token only; ask for 0",
            param=options.top_logprobs_param,
            code="unsupported_parameter",
        )
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
        format=replace(prompts[0].format, stop=options.stop, counts=options.counts),
        prompt_tokens=sum(len(prompt.ids) for prompt in prompts),
        guide_param=_guide_param(prompts[0].format, options),
    )


def _check_calls(prompt: Prompt, limits: RequestLimits) -> None:
    """Refuse tools whose schemas are too expensive to compile, if they will be compiled."""
    calls = prompt.format.phases.call if prompt.format.phases else None
    held = calls is not None or (prompt.guide is not None and prompt.format.definitions)
    for place, tool in enumerate(prompt.format.definitions if held else ()):
        parameters = tool.get("function", tool).get("parameters")
        check_schema(parameters, limits.guide, f"tools[{place}].function.parameters")


def _guide_param(format: ReplyFormat, options: Options) -> str:
    """The parameter that caused a guide which the engine refuses."""
    phases = format.phases
    calls = format.definitions and (phases is None or phases.answer is None)
    return "tools" if calls else options.guide_param


def check_limits(options: Options, limits: RequestLimits) -> None:
    if len(options.stop) > limits.stop_strings:
        raise RequestError(
            f"{options.stop_param}: {len(options.stop)} strings, this server accepts at most "
            f"{limits.stop_strings}",
            param=options.stop_param,
        )
    max_tokens = limits.max_tokens
    if (
        max_tokens is not None
        and options.max_tokens is not None
        and options.max_tokens > max_tokens
    ):
        raise RequestError(
            f"{options.max_tokens_param}: {options.max_tokens} requested, this server generates at "
            f"most {max_tokens}",
            param=options.max_tokens_param,
        )
    if options.sampling.guide is not None:
        check_guide(options.sampling.guide, limits.guide, options.guide_param)


def check_choices(prompts: int, choices: int, limits: RequestLimits) -> None:
    if prompts * choices > limits.choices:
        raise RequestError(
            f"{prompts * choices} answers were requested, this server generates at most "
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
    available = model.context - len(prompt.ids)
    # Without an answer the prompt may fill the context.
    if available < (0 if options.max_tokens == 0 else 1):
        raise PromptTooLong(len(prompt.ids), model.context, prompt.param)
    # A larger number means no limit: clients send the same number whatever the prompt.
    max_token_limits = [available, options.max_tokens, limits.max_tokens]
    end_ids = () if options.ignore_end else model.tokenizer.stop_token_ids
    end_ids += tuple(token for token in options.stop_token_ids if token not in end_ids)
    return TokenRequest(
        # A list would keep an object per token for as long as the stream is open.
        prompt_ids=array("i", prompt.ids),
        max_tokens=min(each for each in max_token_limits if each is not None),
        end_id=end_ids[0] if end_ids else None,
        stop_ids=end_ids[1:],
        sampling=for_choice(options.sampling, index, supported),
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
        request_id=identity if index == 0 else f"{identity}-{index}",
    )
