"""The fields of a request. All others are refused, including parallel_tool_calls and store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class StreamOptions(Strict):
    include_usage: bool | None = True
    continuous_usage_stats: bool | None = True


class ResponseFormat(Strict):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    type: Literal["text", "json", "json_object", "regex", "ebnf", "structural_tag"]
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    regex: str | None = None
    ebnf: str | None = None
    format: Any = None


class Function(Strict):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Strict):
    type: Literal["function"] = "function"
    function: Function


class NamedTool(Strict):
    type: Literal["function"] = "function"
    function: dict[str, str]


class Common(Strict):
    model: str
    frequency_penalty: float | None = 0.0
    logit_bias: dict[str, float] | None = None
    n: int = 1
    presence_penalty: float | None = 0.0
    response_format: ResponseFormat | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int = 0
    top_p_min: float = 0.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    early_stopping: bool = False
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    truncate_prompt_tokens: int | None = Field(None, ge=1)
    add_special_tokens: bool = False
    echo: bool | None = False

    @model_validator(mode="before")
    @classmethod
    def stream_options_need_a_stream(cls, data: Any) -> Any:
        if data.get("stream_options") is not None and not data.get("stream"):
            raise ValueError("stream_options can only be set if stream is true")
        if data.get("suffix"):
            raise ValueError("suffix is not supported")
        return data


class CompletionRequest(Common):
    prompt: list[int] | list[list[int]] | str | list[str]
    max_tokens: int | None = None
    logprobs: int | None = None
    suffix: str | None = None
    return_context_logits: bool = False
    detokenize: bool = True

    @field_validator("logprobs")
    @classmethod
    def no_logprobs(cls, value: int | None) -> int | None:
        if value:
            raise ValueError("logprobs is not supported")
        return value


class ChatRequest(Common):
    messages: list[dict[str, Any]]
    prompt_token_ids: list[int] | None = None
    max_tokens: int | None = Field(None, alias="max_completion_tokens")
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto"] | NamedTool | None = "none"
    reasoning_effort: Literal["low", "medium", "high"] | None = "low"
    add_generation_prompt: bool = True
    documents: list[dict[str, str]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    cache_salt: str | None = None

    @field_validator("messages")
    @classmethod
    def known_keys_only(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for message in messages:
            if "role" not in message or "reasoning_content" in message:
                raise ValueError("Extra inputs are not permitted: reasoning_content")
        return messages

    @model_validator(mode="before")
    @classmethod
    def tools_for_a_choice(cls, data: Any) -> Any:
        if data.get("tool_choice", "none") != "none" and not data.get("tools"):
            raise ValueError("When using `tool_choice`, `tools` must be set.")
        if data.get("top_logprobs") and not data.get("logprobs"):
            raise ValueError("logprobs must be true when using top_logprobs")
        return data
