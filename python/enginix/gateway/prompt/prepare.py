"""Turns prompts and options into token requests, within the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from enginix.errors import PromptTooLong, RequestError
from enginix.gateway.models.engine_model import EngineModel
from enginix.gateway.prompt.constraints import require_guided_decoding
from enginix.gateway.prompt.conversation import Conversation, Prompt, prompt_of
from enginix.gateway.prompt.guide_limits import check_guide, check_schema
from enginix.gateway.prompt.sampling import check_supported, for_choice, sampling_of
from enginix.gateway.reply.generate import TokenGeneration
from enginix.gateway.schema.fields import SamplingFields
from enginix.gateway.settings import RequestLimits
from enginix.generation.reply import ReplyFormat
from enginix.generation.request import Guide, Sampling, TokenRequest


@dataclass(slots=True)
class Options:
    """All options of the answers that are not part of the conversation."""

    id_prefix: str
    sampling: SamplingFields = field(default_factory=SamplingFields)
    """As the client sent it; the model's defaults fill the rest."""
    guide: Guide | None = None
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
    echo: bool = False
    """Answers begin with the prompt's own tokens and their log probabilities."""
    sent: Mapping[str, Any] | None = None
    """A chat completion as the client sent it, for a server that may know more fields."""


async def chat_generation(
    model: EngineModel, conversation: Conversation, options: Options, limits: RequestLimits
) -> TokenGeneration:
    if len(conversation.messages) > limits.messages:
        raise RequestError(
            f"{conversation.param}: {len(conversation.messages)} of them, this server accepts at "
            f"most {limits.messages}",
            param=conversation.param,
        )
    check_limits(options, limits)
    engine_guides = "guide" in await model.backend.supported()
    answer = options.guide
    require_guided_decoding(
        engine_guides, conversation.must_call, answer is not None, options.guide_param
    )
    prompt = await prompt_of(model, conversation, answer, engine_guides=engine_guides)
    _check_calls(prompt, limits)
    if prompt.guide is not answer:
        options = replace(options, guide=prompt.guide)
    return await generation_of(model, [prompt], options, limits)


async def generation_of(
    model: EngineModel, prompts: Sequence[Prompt], options: Options, limits: RequestLimits
) -> TokenGeneration:
    """The request for prompts within their limits, each answered `options.choices` times."""
    check_choices(len(prompts), options.choices, limits)
    supported = await model.backend.supported()
    sampling = sampling_of(options.sampling, model.defaults, options.guide)
    check_supported(sampling, supported)
    _check_logprobs(options, supported)
    identity = f"{options.id_prefix}{token_hex(16)}"
    each_prompt = (prompt for prompt in prompts for _ in range(options.choices))
    requests = tuple(
        _token_request(
            identity, index, model, prompt, options, limits, for_choice(sampling, index, supported)
        )
        for index, prompt in enumerate(each_prompt)
    )
    format = prompts[0].format
    if options.stop or options.counts:
        format = replace(format, stop=options.stop, counts=options.counts)
    return TokenGeneration(
        id=identity,
        model=model,
        requests=requests,
        format=format,
        prompt_tokens=sum(len(prompt.ids) for prompt in prompts),
        prompts=len(prompts),
        guide_param=_guide_param(format, options),
    )


def _check_logprobs(options: Options, supported: frozenset[str]) -> None:
    if options.top_logprobs and "top_logprobs" not in supported:
        raise RequestError(
            f"{options.top_logprobs_param}: this model's engine returns the log probability of "
            "the chosen token only; ask for 0",
            param=options.top_logprobs_param,
            code="unsupported_parameter",
        )
    if options.echo and "prompt_logprobs" not in supported:
        raise RequestError(
            "echo with logprobs: this model's engine returns no log probabilities of a prompt; "
            "leave one of the two out",
            param="echo",
            code="unsupported_parameter",
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


def check_stop(options: Options) -> None:
    if "" in options.stop:
        raise RequestError(
            f"{options.stop_param} contains an empty string, which would end every answer before "
            "it starts; leave it out",
            param=options.stop_param,
            code="invalid_value",
        )


def check_limits(options: Options, limits: RequestLimits) -> None:
    check_stop(options)
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
    if options.guide is not None:
        check_guide(options.guide, limits.guide, options.guide_param)


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
    model: EngineModel,
    prompt: Prompt,
    options: Options,
    limits: RequestLimits,
    sampling: Sampling,
) -> TokenRequest:
    available = model.context - len(prompt.ids)
    # Without an answer the prompt may fill the context; an engine that reads it has to answer.
    if available < (0 if options.max_tokens == 0 and not options.echo else 1):
        raise PromptTooLong(len(prompt.ids), model.context, prompt.param)
    # A larger number means no limit: clients send the same number whatever the prompt.
    wanted = model.defaults.max_new_tokens if options.max_tokens is None else options.max_tokens
    max_token_limits = [available, wanted, limits.max_tokens]
    # Evaluation harnesses have to ask for one token after a prompt, and drop the last one they get:
    # if the model ended at once, that would be the prompt's.
    ignore_end = options.ignore_end or (options.echo and options.max_tokens == 1)
    end_ids = () if ignore_end else model.tokenizer.stop_token_ids
    # Each once: a body has room for millions, and an engine makes a word of every one.
    end_ids = tuple(dict.fromkeys((*end_ids, *options.stop_token_ids)))
    return TokenRequest(
        prompt_ids=prompt.ids,
        max_tokens=min(limit for limit in max_token_limits if limit is not None),
        end_id=end_ids[0] if end_ids else None,
        stop_ids=end_ids[1:],
        sampling=sampling,
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
        prompt_logprobs=options.echo,
        request_id=identity if index == 0 else f"{identity}-{index}",
    )
