"""What chat completions and text completions have in common around their choices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from enginix.gateway.http.errors import Failure, openai_error
from enginix.gateway.models.model import GenerationRequest
from enginix.gateway.schema.fields import StreamOptions
from enginix.generation.reply import Usage

DONE = b"data: [DONE]\n\n"
dumps = orjson.dumps


class ChunkStream:
    """One chunk after another, all with the same head, and the end of the stream."""

    object: ClassVar[str]

    def __init__(self, generation: GenerationRequest, options: StreamOptions | None) -> None:
        self.head = b"data: " + dumps(_fields(generation, self.object)).removesuffix(b"}")
        self.tails = Tails(generation, options)

    def end(self, usage: Usage) -> bytes:
        if not self.tails.with_usage:
            return DONE
        return b'%b,"choices":[],"usage":%b}\n\n%b' % (self.head, dumps(usage_of(usage)), DONE)

    def fail(self, failure: Failure) -> bytes:
        return b"data: %b\n\n" % openai_error(failure)


class Tails:
    """What chunks end with: usage where it was asked for, null until the end or as far as it is."""

    def __init__(self, generation: GenerationRequest, options: StreamOptions | None) -> None:
        self._prompt_tokens = generation.prompt_tokens
        # OpenAI sends the field with every chunk once it was asked for.
        self.with_usage = options is not None and options.include_usage
        self.first = b',"usage":null}\n\n' if self.with_usage else b"}\n\n"
        if generation.counts:
            self.first = self.after(0)

    def after(self, tokens: int) -> bytes:
        usage = usage_of(Usage(self._prompt_tokens, tokens, 0))
        return b',"usage":%b}\n\n' % dumps(usage)


def document(
    generation: GenerationRequest, object: str, choices: Sequence[dict[str, Any]], usage: Usage
) -> dict[str, Any]:
    """A whole reply."""
    return {**_fields(generation, object), "choices": choices, "usage": usage_of(usage)}


def _fields(generation: GenerationRequest, object: str) -> dict[str, Any]:
    model = generation.model
    manifest = model.manifest
    return {
        "id": generation.id,
        "object": object,
        "created": int(time.time()),
        "model": model.name,
        # What produced the answer, as far as it can change it.
        "system_fingerprint": f"{manifest.kind}-{manifest.built_with.enginix}"
        if manifest
        else model.engine,
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cached_tokens is not None:
        shown["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return shown
