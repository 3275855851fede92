"""/v1/completions: bare text in, bare text out, no chat template."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import RequestError
from enginix.gateway.api.completions_reply import CompletionDocument, CompletionStream
from enginix.gateway.http.body import read
from enginix.gateway.http.document import WholeReply
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import gateway_of, models_of, note_prompt
from enginix.gateway.http.sse import EventStream
from enginix.gateway.models.registry import ServedModel
from enginix.gateway.passthrough.route import pass_through
from enginix.gateway.prompt.constraints import closed_guide
from enginix.gateway.prompt.conversation import LONG_CONVERSATION, Prompt
from enginix.gateway.prompt.parameters import (
    check_stream_options,
    check_tokens,
    counts_asked,
    refuse,
    stop_strings,
    unsupported,
)
from enginix.gateway.prompt.prepare import Options, check_choices, check_limits, generation_of
from enginix.gateway.prompt.structured_output import guide_of, guide_param_of
from enginix.gateway.schema.completions import CompletionRequest
from enginix.generation.reply import ReplyFormat

router = APIRouter(tags=["OpenAI"])

IMPOSSIBLE = {
    "suffix": "this model writes on, it does not fill in",
    "use_beam_search": "answers are sampled",
    "prompt_logprobs": "send echo and logprobs to /v1/completions",
}
FORMAT = ReplyFormat(continues=True)


@router.post("/v1/completions", **described(CompletionRequest, streams=True))
async def create_completion(request: Request) -> Response:
    """Continue one prompt or several."""
    if passed := await pass_through(request):
        return passed
    return await answer_completion(request, await read(request, CompletionRequest))


async def answer_completion(request: Request, completion: CompletionRequest) -> Response:
    """The answer to a completion, whichever route the request came by."""
    gateway = gateway_of(request)
    model = models_of(request).find(completion.model, completion.engine)
    check(completion)
    # Before tokenizing any: there may be a million.
    check_choices(count_prompts(completion.prompt), completion.n or 1, gateway.settings.request)
    note_prompt(request, completion.prompt)
    prompts = await prompts_of(completion, model)
    options = options_of(completion)
    check_limits(options, gateway.settings.request)
    if options.guide is not None:
        options = replace(options, guide=closed_guide(options.guide))
    generation = await generation_of(model, prompts, options, gateway.settings.request)
    echoes = echoes_of(completion, model, prompts)
    if completion.stream:
        stream = CompletionStream(generation, completion.stream_options, echoes)
        return EventStream(gateway, generation, stream)
    return WholeReply(gateway, generation, CompletionDocument(generation, echoes))


def check(completion: CompletionRequest) -> None:
    refuse(completion, IMPOSSIBLE)
    check_stream_options(completion.stream_options, completion.stream)
    if completion.best_of not in (None, completion.n or 1):
        raise unsupported("best_of", "ask for n answers and choose")


async def prompts_of(completion: CompletionRequest, model: ServedModel) -> list[Prompt]:
    asked = completion.prompt
    if not asked:
        raise RequestError("prompt is empty; send at least one character", param="prompt")
    texts: list[str] = []
    prompts: list[Prompt] = []
    for place, item in enumerate(_each(asked)):
        if isinstance(item, str):
            texts.append(item)
        else:
            where = "prompt" if item is asked else f"prompt[{place}]"
            prompts.append(_token_prompt(item, model, where))
    if sum(map(len, texts)) > LONG_CONVERSATION:
        return await asyncio.to_thread(_text_prompts, texts, model)
    return prompts or _text_prompts(texts, model)


def count_prompts(asked: str | list[str] | list[int] | list[list[int]]) -> int:
    several = isinstance(asked, list) and not (asked and isinstance(asked[0], int))
    return len(asked) if several else 1


def _each(asked: str | list[str] | list[int] | list[list[int]]) -> Iterator[str | list[int]]:
    """The prompts, each a text or a list of token ids."""
    if isinstance(asked, str) or isinstance(asked[0], int):
        yield asked
    else:
        yield from asked


def options_of(completion: CompletionRequest) -> Options:
    return Options(
        id_prefix="cmpl-",
        sampling=completion,
        guide=guide_of(completion),
        guide_param=guide_param_of(completion),
        choices=completion.n or 1,
        max_tokens=completion.max_tokens,
        stop=stop_strings(completion.stop),
        stop_token_ids=tuple(completion.stop_token_ids or ()),
        ignore_end=bool(completion.ignore_eos),
        counts=counts_asked(completion.stream_options),
        logprobs=completion.logprobs is not None,
        top_logprobs=completion.logprobs or 0,
        top_logprobs_param="logprobs",
        echo=bool(completion.echo) and completion.logprobs is not None,
    )


def echoes_of(
    completion: CompletionRequest, model: ServedModel, prompts: list[Prompt]
) -> list[str]:
    """What each choice's text begins with, beside what the engine sends of the prompt."""
    if not completion.echo or completion.logprobs is not None:
        return []
    texts = [model.tokenizer.decode(prompt.ids) for prompt in prompts]
    return [text for text in texts for _ in range(completion.n or 1)]


def _text_prompts(texts: list[str], model: ServedModel) -> list[Prompt]:
    encoded = [model.encode(text, "prompt", raw=True) for text in texts]
    if not all(encoded):
        raise RequestError("prompt is empty; send at least one character", param="prompt")
    return [Prompt(ids, FORMAT, "prompt") for ids in encoded]


def _token_prompt(ids: list[int], model: ServedModel, where: str) -> Prompt:
    if not ids:
        raise RequestError(f"{where} is empty; send at least one token", param=where)
    check_tokens(ids, model.tokenizer.vocabulary_size, where)
    return Prompt(array("i", ids), FORMAT, where)
