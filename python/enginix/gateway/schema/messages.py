"""The body of /v1/messages, Anthropic's dialect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from enginix.gateway.schema.fields import Fraction, Integer, NotNegative, Positive, Schema


class Block(Schema):
    """A piece of a message; which kinds a model can read is not the schema's to say."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None
    is_error: bool | None = None
    source: dict[str, Any] | None = None


class Message(Schema):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Schema):
    """`type` is absent or "custom" for a client's own tool; a server's tools have others."""

    type: str | None = None
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Schema):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Schema):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Integer | None = None


class OutputFormat(Schema):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Schema):
    effort: str | None = None
    format: OutputFormat | None = None


class CountRequest(Schema):
    """What /v1/messages/count_tokens takes."""

    model: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountRequest):
    max_tokens: Positive
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: NotNegative | None = None
