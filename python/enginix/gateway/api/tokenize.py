"""/tokenize and /detokenize: run the model's tokenizer, not the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from enginix.errors import RequestError
from enginix.gateway.api.chat_input import functions, plain_messages
from enginix.gateway.http.body import read
from enginix.gateway.http.openapi import described
from enginix.gateway.http.scope import models_of
from enginix.gateway.models.registry import ServedModel
from enginix.gateway.prompt.conversation import rendered
from enginix.gateway.prompt.parameters import check_tokens
from enginix.gateway.schema.tokenize import DetokenizeRequest, TokenizeRequest

router = APIRouter(tags=["Tokens"])


@router.post("/tokenize", **described(TokenizeRequest))
async def tokenize(request: Request) -> Response:
    """Token ids of a text, or of messages as the model would see them."""
    asked = await read(request, TokenizeRequest)
    model = models_of(request).find(asked.model)
    if (asked.prompt is None) == (asked.messages is None):
        raise RequestError("expected either prompt or messages", param="prompt")
    # In a thread, up to the encoded body: there may be megabytes of ids.
    if asked.messages is None:
        answer = await run_in_threadpool(prompt_tokenized, asked, model)
    else:
        arguments = {
            "messages": plain_messages(asked.messages),
            "tools": functions(asked.tools) or None,
            "chat_template_kwargs": asked.chat_template_kwargs,
            "add_generation_prompt": asked.add_generation_prompt,
        }
        answer = await rendered(
            model, arguments, partial(chat_tokenized, asked, model), is_long=True
        )
    return Response(answer, media_type="application/json")


@router.post("/detokenize", **described(DetokenizeRequest))
async def detokenize(request: Request) -> Response:
    """The text of token ids, special tokens included."""
    asked = await read(request, DetokenizeRequest)
    model = models_of(request).find(asked.model)
    answer = await run_in_threadpool(detokenized, asked, model)
    return Response(answer, media_type="application/json")


def prompt_tokenized(asked: TokenizeRequest, model: ServedModel) -> bytes:
    assert asked.prompt is not None, "one of the two is there"
    ids = model.tokenizer.encode(asked.prompt, add_special_tokens=asked.add_special_tokens)
    return tokenized(asked, model, ids)


def chat_tokenized(asked: TokenizeRequest, model: ServedModel, text: str) -> bytes:
    return tokenized(asked, model, model.tokenizer.encode_chat(text))


def tokenized(asked: TokenizeRequest, model: ServedModel, ids: Sequence[int]) -> bytes:
    answer: dict[str, Any] = {
        "count": len(ids),
        "max_model_len": model.context,
        "tokens": list(ids),
    }
    if asked.return_token_strs:
        spelled = (model.tokenizer.bytes_of(token) for token in ids)
        answer["token_strs"] = [text.decode(errors="replace") for text in spelled]
    return orjson.dumps(answer)


def detokenized(asked: DetokenizeRequest, model: ServedModel) -> bytes:
    check_tokens(asked.tokens, model.tokenizer.vocabulary_size, "tokens")
    spelled = b"".join(model.tokenizer.bytes_of(token) for token in asked.tokens)
    return orjson.dumps({"prompt": spelled.decode(errors="replace")})
