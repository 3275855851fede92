"""Fits chats to servers that refuse, or quietly change, what others of the OpenAI API accept.

A server that is not here takes a chat as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enginix.errors import EngineError, RequestError
from enginix.gateway.prompt.defaults import SamplingDefaults, read_sampling_defaults
from enginix.manifest import read_manifest

# What says who asks, or how the answer is kept: without it the answer is the same.
ANNOTATIONS = frozenset(
    {
        "metadata",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
HARMLESS = ANNOTATIONS | {"engine", "priority"}
# The whole vocabulary: TensorRT Edge-LLM samples only where top_k or top_p leaves something out. A
# temperature of 1 without either means the likeliest token to it, and any other is an error.
NEARLY_ALL = 0.99999
LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class StrictServer:
    """What a server program takes, and for an engine its numbers."""

    title: str
    fields: frozenset[str]
    """All that a chat may have."""
    ignored: Mapping[str, float] = field(default_factory=dict)
    """What it accepts and ignores -> the value that says as much."""
    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    """Sent where the request says nothing: its own would change the answer."""
    context: int = 0
    """The engine's limit of prompt and answer, 0 if unknown."""
    answer: int = 0
    """What the longest prompt leaves of it."""

    def fit(self, body: Mapping[str, Any], *, thinks: bool) -> dict[str, Any]:
        """The body as the server takes it; RequestError for what it cannot do.

        `thinks`: whether the model is to, where its server would not let it by default.
        """
        # It refuses null for a number.
        fitted = {name: value for name, value in body.items() if value is not None}
        for name in fitted.keys() - self.fields:
            if name not in HARMLESS:
                raise RequestError(
                    f"{self.title}, which serves this model, has no {name}; leave it out",
                    param=name,
                )
            del fitted[name]
        for name, neutral in self.ignored.items():
            if fitted.pop(name, neutral) != neutral:
                raise RequestError(
                    f"{self.title}, which serves this model, ignores {name}; leave it out",
                    param=name,
                )
        return self._limited(self._sampled(self._thinking(fitted, thinks=thinks)))

    def _thinking(self, body: dict[str, Any], *, thinks: bool) -> dict[str, Any]:
        said = body.get("chat_template_kwargs", {})
        if "enable_thinking" in body or not isinstance(said, dict):
            return body
        own = {name: value for name, value in said.items() if name != "thinking"}
        own.setdefault("enable_thinking", thinks and said.get("thinking") is not False)
        return {**body, "chat_template_kwargs": own}

    def _sampled(self, body: dict[str, Any]) -> dict[str, Any]:
        defaults = self.defaults
        temperature = body.setdefault("temperature", defaults.temperature)
        top_p, top_k = body.get("top_p", defaults.top_p), body.get("top_k", defaults.top_k)
        if temperature == 0 or top_p == 0:
            rest = {name: value for name, value in body.items() if name not in ("top_p", "top_k")}
            return {**rest, "temperature": 0}
        if top_p == 1 and top_k in (0, -1):
            top_p = NEARLY_ALL
        return {**body, "top_p": top_p, "top_k": top_k}

    def _limited(self, body: dict[str, Any]) -> dict[str, Any]:
        most = self.defaults.max_new_tokens or self.answer
        if most and not any(name in body for name in LIMITS):
            body["max_tokens"] = most
        for name in LIMITS:
            if self.context and isinstance(asked := body.get(name), int):
                # It does not compare it with the context.
                body[name] = min(asked, self.context)
        return body


EDGE_LLM = StrictServer(
    "TensorRT Edge-LLM",
    frozenset(
        {
            "add_generation_prompt",
            "apply_chat_template",
            "cache_generated_tokens",
            "chat_template_kwargs",
            "disable_spec_decode",
            "enable_thinking",
            "frequency_penalty",
            "guided_decoding",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "min_p",
            "modalities",
            "model",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "reasoning_effort",
            "repetition_penalty",
            "response_format",
            "reuse_context",
            "seed",
            "stop",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
        }
    ),
    {"min_p": 0.0, "repetition_penalty": 1.0},
)
# What a models file calls an engine -> its server.
STRICT = {"edge-llm": EDGE_LLM}


def strict_server(engine: str, path: str) -> StrictServer | None:
    """The server of an engine; `path` is the engine's directory, if it is on this machine."""
    server = STRICT.get(engine)
    if server is None:
        return None
    try:
        limits = read_manifest(Path(path)).limits
        defaults = read_sampling_defaults(Path(path))
    except EngineError:
        # It is served elsewhere.
        return server
    left = limits.max_seq_len - limits.max_num_tokens
    return replace(server, defaults=defaults, context=limits.max_seq_len, answer=left)
