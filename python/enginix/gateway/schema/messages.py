"""The body of /v1/messages, Anthropic's dialect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from enginix.gateway.schema.fields import Fraction, Integer, Items, NotNegative, Priority, Schema
from enginix.gateway.schema.lenient import messages_choice, messages_tool


class Block(Schema):
    """A block of a message. Only its type is validated: ignored blocks may contain anything."""

    model_config = ConfigDict(extra="allow")

    type: str


class TextBlock(Schema):
    text: str


class ThinkingBlock(Schema):
    thinking: str | None = None


class ToolUseBlock(Schema):
    id: str | None = None
    name: str = ""
    input: Any = None


class ToolResultBlock(Schema):
    tool_use_id: str | None = None
    content: str | Items[Block] | None = None


class ImageBlock(Schema):
    source: dict[str, Any] = Field(default_factory=dict)


class DocumentSource(Schema):
    type: str
    data: str | None = None
    content: str | Items[Block] | None = None


class DocumentBlock(Schema):
    source: DocumentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Schema):
    source: str | None = None
    title: str | None = None
    content: Items[Block] = Field(default_factory=list)


class ToolReferenceBlock(Schema):
    tool_name: str


class CompactionBlock(Schema):
    content: str | None = None


class Message(Schema):
    role: Literal["user", "assistant", "system"]
    content: str | Items[Block] | None = None


class Tool(Schema):
    """`type` is absent or "custom" for a client's own tool; Anthropic's own tools have others."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None


class FunctionTool(Schema):
    """The fields required of a tool that a model may call."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Schema):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Schema):
    """`type` is open-ended; anything but "disabled" enables thinking."""

    type: str
    budget_tokens: Integer | None = None


class OutputFormat(Schema):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Schema):
    effort: str | None = None
    format: OutputFormat | None = None


class Thread(Schema):
    """`type` is "create", or "continue" if the messages are only those of a new turn."""

    type: str


class CountRequest(Schema):
    """The body of /v1/messages/count_tokens."""

    model: str | None = None
    messages: Annotated[Items[Message], Field(min_length=1)]
    system: str | Items[Block] | None = None
    tools: Items[Annotated[Tool, BeforeValidator(messages_tool)]] | None = None
    tool_choice: Annotated[ToolChoice | None, BeforeValidator(messages_choice)] = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """The earlier name of `output_config.format`."""


class MessagesRequest(CountRequest):
    priority: Priority | None = None
    max_tokens: NotNegative
    stop_sequences: Items[str] | None = None
    stream: bool | None = None
    thread: Thread | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: NotNegative | None = None
