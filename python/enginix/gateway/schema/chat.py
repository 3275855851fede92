"""The body of /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from enginix.gateway.schema.fields import (
    Count,
    Integer,
    Items,
    Positive,
    Priority,
    SamplingFields,
    Schema,
    StreamOptions,
    only_known,
)
from enginix.gateway.schema.lenient import chat_call, chat_choice, chat_tool

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})


class Part(Schema):
    """A part of a message; the schema does not know which types a model can read."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Schema):
    name: str
    arguments: str | dict[str, Any] | None = None


class CustomCall(Schema):
    name: str
    input: str | None = None


class FunctionToolCall(Schema):
    id: str | None = None
    type: Literal["function"]
    function: FunctionCall


class CustomToolCall(Schema):
    id: str | None = None
    type: Literal["custom"]
    custom: CustomCall


ToolCall = Annotated[FunctionToolCall | CustomToolCall, BeforeValidator(chat_call)]


class ChatMessage(Schema):
    role: Role
    content: str | Items[Annotated[Part, only_known(TEXTS)]] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: Items[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(Schema):
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Custom(Schema):
    """A tool that takes text instead of arguments."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    format: dict[str, Any] | None = None


class FunctionTool(Schema):
    type: Literal["function"]
    function: Function


class CustomTool(Schema):
    type: Literal["custom"]
    custom: Custom


Tool = Annotated[FunctionTool | CustomTool, BeforeValidator(chat_tool)]


class Named(Schema):
    name: str


class NamedTool(Schema):
    type: Literal["function"]
    function: Named

    @property
    def name(self) -> str:
        return self.function.name


class NamedCustom(Schema):
    type: Literal["custom"]
    custom: Named

    @property
    def name(self) -> str:
        return self.custom.name


class AllowedTools(Schema):
    mode: Literal["auto", "required"]
    tools: Annotated[Items[NamedTool | NamedCustom], Field(min_length=1)]


class AllowedChoice(Schema):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class JsonSchema(Schema):
    name: str | None = None
    schema_: Annotated[dict[str, Any] | bool | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Schema):
    """OpenAI's types, `json`, `regex` and `ebnf` as trtllm-serve has them, and `grammar`."""

    type: Literal["text", "json_object", "json_schema", "json", "regex", "ebnf", "grammar"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[dict[str, Any] | bool | None, Field(alias="schema")] = None
    """Of `json`; llama.cpp's extension of json_object."""
    pattern: str | None = None
    regex: str | None = None
    grammar: str | None = None
    ebnf: str | None = None


Choices = Annotated[Items[str], Field(min_length=1)]


class StructuredOutputs(Schema):
    """vLLM's single field for structured output."""

    json_: Annotated[str | dict[str, Any] | None, Field(alias="json")] = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    json_object: bool | None = None


class GuidedFields(Schema):
    """Structured output: OpenAI's field, vLLM's older and newer ones, llama.cpp's, SGLang's."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    json_schema: str | dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    guided_choice: Choices | None = None


class ChatRequest(SamplingFields, GuidedFields):
    model: str | None = None
    engine: str | None = None
    """Selects one of the engines that serve the model."""
    messages: Items[ChatMessage]
    priority: Priority | None = None
    n: Count | None = None
    stop: str | Items[str] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Items[Tool] | None = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | NamedTool | NamedCustom | AllowedChoice | None,
        BeforeValidator(chat_choice),
    ] = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    # Known but not supported: refused by name instead of ignored.
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    modalities: Items[str] | None = None
    best_of: Integer | None = None
    use_beam_search: bool | None = None
    prompt_logprobs: Any = None
    web_search_options: Any = None
