"""The body of /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from enginix.gateway.schema.fields import (
    Entries,
    Integer,
    Items,
    Positive,
    Priority,
    SamplingFields,
    Schema,
    StreamOptions,
    only_known,
)
from enginix.gateway.schema.lenient import responses_choice, responses_tool

TEXTS = frozenset(
    {"input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text"}
)


class Part(Schema):
    """A part of a message; the schema does not know which types a model can read."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None


AnyPart = Annotated[Part, only_known(TEXTS | {"input_image"})]
Content = str | Items[AnyPart] | None


class Item(Schema):
    """One input item. Only its type is validated: ignored items may contain anything."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None


class MessageItem(Schema):
    role: Literal["user", "assistant", "system", "developer"]
    content: Content = None


class ReasoningItem(Schema):
    content: Items[AnyPart] | None = None
    summary: Items[AnyPart] | None = None


class CallItem(Schema):
    """A call of any kind; its type decides which fields it has."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    execution: str | None = None
    arguments: Any = None
    input: str | None = None
    action: dict[str, Any] | None = None
    operation: dict[str, Any] | None = None


class NamedCallItem(CallItem):
    name: Annotated[str, Field(min_length=1)]


class OutputItem(Schema):
    id: str | None = None
    call_id: str | None = None
    output: Content = None


class ShellOutput(Schema):
    stdout: str = ""
    stderr: str = ""
    outcome: dict[str, Any] = Field(default_factory=dict)


class ShellOutputItem(Schema):
    call_id: str | None = None
    output: str | Items[ShellOutput] | None = None


class PatchOutputItem(Schema):
    call_id: str | None = None
    status: str | None = None
    output: str | None = None


class ReferenceItem(Schema):
    id: str


class Tool(Schema):
    """A tool of any type; responses echo all of them."""

    model_config = ConfigDict(extra="allow")

    type: str


AnyTool = Annotated[Tool, BeforeValidator(responses_tool)]


class ToolsItem(Schema):
    """Tools that were added later, or found by a search."""

    call_id: str | None = None
    execution: str | None = None
    tools: Items[AnyTool] | None = None


class NamespaceTool(Schema):
    name: str | None = None
    tools: Items[AnyTool] = Field(default_factory=list)


class SearchTool(Schema):
    execution: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ShellTool(Schema):
    environment: dict[str, Any] | None = None


class ToolChoice(Schema):
    """One tool by type and name, or several as `allowed_tools`."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Items[ToolChoice] | None = None


class Reasoning(Schema):
    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(Schema):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class Text(Schema):
    format: TextFormat | None = None
    verbosity: str | None = None


class ResponseRequest(SamplingFields):
    model: str | None = None
    input: str | Items[Item]
    instructions: str | None = None
    previous_response_id: str | None = None
    priority: Priority | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Positive | None = None
    max_tool_calls: Integer | None = None
    top_logprobs: Annotated[Integer, Field(ge=0, le=20)] | None = None
    tools: Items[AnyTool] | None = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | ToolChoice | None, BeforeValidator(responses_choice)
    ] = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: Text | None = None
    include: Items[str] | None = None
    metadata: Entries[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Known but not supported: refused by name instead of ignored.
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None


class InputTokensRequest(ResponseRequest):
    """The body of /v1/responses/input_tokens."""

    input: str | Items[Item] = ""
