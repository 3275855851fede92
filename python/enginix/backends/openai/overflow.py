"""Recognizes the refusal of a prompt that is longer than the context, and reads both lengths.

Every server has a message of its own, and agents that would shorten the conversation only know
those of OpenAI and Anthropic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from enginix.errors import PromptTooLong

CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
EDGE_LLM = "EDGELLM_INPUT_TOO_LONG"
# Messages of vLLM (two), SGLang (two), TensorRT-LLM (three), llama-server (for embeddings) and
# TensorRT Edge-LLM, with both numbers of tokens.
MESSAGES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"maximum context length is (?P<context>\d+) tokens.*?\((?P<prompt>\d+) in the messages",
        r"maximum context length is (?P<context>\d+) tokens.*?(?P<prompt>\d+) (?:input )?tokens",
        r"input \((?P<prompt>\d+) tokens\) is longer than .*?context length \((?P<context>\d+)",
        r"maximum context length of (?P<context>\d+) tokens.*?(?P<prompt>\d+) tokens from the inp",
        r"length of prompt_tokens \((?P<prompt>\d+)\) must be less than .*?\((?P<context>\d+)\)",
        r"prompt length \((?P<prompt>\d+)(?:\.0)?\).*?max_\w+ \((?P<context>\d+)\)",
        r"prompt length \((?P<prompt>\d+)\) exceeds maximum input length \((?P<context>\d+)\)",
        r"input \((?P<prompt>\d+) tokens\) is too large to process.*?size: (?P<context>\d+)\)",
        r"_TOO_LONG: \w+ length (?P<prompt>\d+) exceeds engine max_\w+ (?P<context>\d+)",
    )
)


def prompt_too_long(message: str, error: Mapping[str, Any]) -> PromptTooLong | None:
    """None for other refusals; `error` is the object that `message` is from.

    A request for more tokens than fit is refused with nearly the same message, but is another
    error.
    """
    param = error.get("param") if isinstance(error.get("param"), str) else None
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(prompt, int) and isinstance(context, int):
        return PromptTooLong(prompt, context, param)
    for pattern in MESSAGES:
        if found := pattern.search(message):
            prompt, context = int(found["prompt"]), int(found["context"])
            return PromptTooLong(prompt, context, param) if prompt >= context else None
    if EDGE_LLM in message or CODES & {str(error.get("code")), str(error.get("type"))}:
        return PromptTooLong(None, None, param, words=message)
    return None
