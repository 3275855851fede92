"""/api/v1/inference/stream: takes a prompt and a model's id, and streams the answer.

The reply is that of /v1/completions, streamed or whole; only the request is spelled differently.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from enginix.gateway.api.completions import answer_completion
from enginix.gateway.http.body import read
from enginix.gateway.http.openapi import described
from enginix.gateway.passthrough.route import pass_to
from enginix.gateway.schema.completions import CompletionRequest
from enginix.gateway.schema.inference import InferenceRequest

router = APIRouter(tags=["Inference"])


@router.post("/api/v1/inference/stream", **described(InferenceRequest, streams=True))
async def create_inference(request: Request) -> Response:
    """Continue a prompt."""
    asked = completion_of(await read(request, InferenceRequest))
    if passed := pass_to(request, "/v1/completions", asked):
        return passed
    return await answer_completion(request, CompletionRequest.model_validate(asked))


def completion_of(asked: InferenceRequest) -> dict[str, Any]:
    """The same request in OpenAI's spelling."""
    fields = {
        "model": asked.modelId,
        "prompt": asked.prompt,
        "max_tokens": asked.maxTokens,
        "temperature": asked.temperature,
        "top_p": asked.topP,
        "top_k": asked.topK,
        "seed": asked.seed,
        "stop": asked.stop,
        "stream": asked.stream,
        "stream_options": {"include_usage": True} if asked.stream else None,
    }
    return {name: value for name, value in fields.items() if value is not None}
