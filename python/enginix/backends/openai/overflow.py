"""Reads out of a server's refusal that a prompt was longer than the context, and by how much.

Every server words it differently, and agents that would shorten the conversation know the words of
OpenAI and of Anthropic only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from enginix.errors import PromptTooLong

CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# vLLM's two, SGLang's two, TensorRT-LLM's three: the prompt's tokens and the context's.
WORDS = tuple(
    re.compile(words, re.IGNORECASE | re.DOTALL)
    for words in (
        r"maximum context length is (?P<context>\d+) tokens.*?\((?P<prompt>\d+) in the messages",
        r"maximum context length is (?P<context>\d+) tokens.*?(?P<prompt>\d+) (?:input )?tokens",
        r"input \((?P<prompt>\d+) tokens\) is longer than .*?context length \((?P<context>\d+)",
        r"maximum context length of (?P<context>\d+) tokens.*?(?P<prompt>\d+) tokens from the inp",
        r"length of prompt_tokens \((?P<prompt>\d+)\) must be less than .*?\((?P<context>\d+)\)",
        r"prompt length \((?P<prompt>\d+)(?:\.0)?\).*?max_\w+ \((?P<context>\d+)\)",
        r"prompt length \((?P<prompt>\d+)\) exceeds maximum input length \((?P<context>\d+)\)",
    )
)


def prompt_too_long(words: str, error: Mapping[str, Any]) -> PromptTooLong | None:
    """`error`: the object that the refusal's `words` are from; None when it is about other things.

    A wish for more tokens than there is room for is refused in nearly the same words, and is none.
    """
    param = error.get("param") if isinstance(error.get("param"), str) else None
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(prompt, int) and isinstance(context, int):
        return PromptTooLong(prompt, context, param)
    for pattern in WORDS:
        if found := pattern.search(words):
            prompt, context = int(found["prompt"]), int(found["context"])
            return PromptTooLong(prompt, context, param) if prompt >= context else None
    if CODES & {str(error.get("code")), str(error.get("type"))}:
        return PromptTooLong(None, None, param, words=words)
    return None
