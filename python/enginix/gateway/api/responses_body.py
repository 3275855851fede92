"""The response object of /v1/responses, with every field that its clients expect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, NamedTuple

from enginix.chat.events import Answer, Event, Reasoning
from enginix.gateway.api.responses_calls import PREFIXES, call_fields
from enginix.gateway.api.responses_tools import ClientTool, Toolbox
from enginix.gateway.models.model import Model
from enginix.gateway.reply.parts import Part, ScoredText
from enginix.gateway.schema.responses import ResponseRequest, Tool, ToolChoice
from enginix.generation.reply import TokenLogprob, Usage

Item = dict[str, Any]


class Kind(NamedTuple):
    """Of a part: what its item's ids begin with, its content's type, and its events' names."""

    prefix: str
    content: str = ""
    text_event: str = ""
    part_event: str = "response.content_part"
    place: str = "content_index"


MESSAGE = Kind("msg", "output_text", "response.output_text")
REASONING = Kind("rs", "reasoning_text", "response.reasoning_text")
# Clients that ask for a summary show nothing else of the reasoning: they get all of it there.
SUMMARY = Kind(
    "rs",
    "summary_text",
    "response.reasoning_summary_text",
    "response.reasoning_summary_part",
    "summary_index",
)
CALL = Kind("fc", text_event="response.function_call_arguments")


class ResponseBody:
    """The response object as it grows."""

    def __init__(
        self, id: str, model: Model, request: ResponseRequest, toolbox: Toolbox | None = None
    ) -> None:
        self.id = id
        self.model = model
        self._created = int(time.time())
        self._toolbox = toolbox or Toolbox()
        self._ids: dict[int, str] = {}
        self._echo = echo(request, model)
        shown = request.reasoning is not None and request.reasoning.summary is not None
        self._reasoning = SUMMARY if shown else REASONING

    def body(
        self,
        status: str,
        parts: Sequence[Part] = (),
        usage: Usage | None = None,
        *,
        incomplete: str | None = None,
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        items = (self.item(part, part_status(part, parts, incomplete)) for part in parts)
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "model": self.model.name,
            "output": [item for item in items if item is not None],
            "usage": usage_of(usage) if usage else None,
            **self._echo,
        }

    def tool(self, part: Part) -> ClientTool | None:
        return self._toolbox.find(part.call.name) if part.call else None

    def item(self, part: Part, status: str) -> Item | None:
        """An output item; None for a call that was cut off and must not be run."""
        item: Item = {"id": self.item_id(part), "status": status}
        if part.call is not None:
            fields = call_fields(self.tool(part), part.call.name, part.text)
            return None if fields is None else {**item, "call_id": part.call.id, **fields}
        return {**item, **self._spoken(part, [self.content(part)])}

    def started_item(self, part: Part) -> Item:
        """The item as a stream starts it, without its content."""
        item: Item = {"id": self.item_id(part), "status": "in_progress"}
        if part.call is None:
            return {**item, **self._spoken(part, [])}
        tool = self.tool(part)
        empty = {"name": tool.name if tool else part.call.name}
        if tool and tool.namespace:
            empty["namespace"] = tool.namespace
        if tool and tool.kind == "custom":
            kind = {"type": "custom_tool_call", "input": ""}
        else:
            kind = {"type": "function_call", "arguments": ""}
        return {**item, "call_id": part.call.id, **kind, **empty}

    def content(self, part: Part) -> dict[str, Any]:
        content = self.content_of(part, part.text)
        if part.scored:
            content["logprobs"] = logprobs_of(part.scored)
        return content

    def content_of(self, part: Part, text: str) -> dict[str, Any]:
        content = {"type": self.kind_of(part).content, "text": text}
        return {**content, "annotations": [], "logprobs": []} if part.kind is Answer else content

    def kind_of(self, part: Part) -> Kind:
        kind: type[Event] = part.kind
        return MESSAGE if kind is Answer else self._reasoning if kind is Reasoning else CALL

    def _spoken(self, part: Part, content: list[dict[str, Any]]) -> Item:
        if part.kind is not Reasoning:
            return {"type": "message", "role": "assistant", "content": content}
        if self._reasoning is SUMMARY:
            return {"type": "reasoning", "summary": content}
        return {"type": "reasoning", "summary": [], "content": content}

    def item_id(self, part: Part) -> str:
        if part.index not in self._ids:
            tool = self.tool(part)
            prefix = PREFIXES[tool.kind] if tool else self.kind_of(part).prefix
            self._ids[part.index] = f"{prefix}_{token_hex(16)}"
        return self._ids[part.index]


def echo(asked: ResponseRequest, model: Model) -> dict[str, Any]:
    """The request's fields, or their defaults."""
    text = asked.text.model_dump(by_alias=True, exclude_none=True) if asked.text else {}
    choice = asked.tool_choice
    shown_choice = (
        choice.model_dump(exclude_none=True) if isinstance(choice, ToolChoice) else choice
    )
    return {
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "reasoning": {
            "effort": asked.reasoning.effort if asked.reasoning else None,
            "summary": asked.reasoning.summary if asked.reasoning else None,
        },
        "service_tier": "default",
        "store": asked.store is not False,
        "temperature": number(asked.temperature, model.defaults.temperature),
        "top_p": number(asked.top_p, model.defaults.top_p),
        "presence_penalty": number(asked.presence_penalty, 0.0),
        "frequency_penalty": number(asked.frequency_penalty, 0.0),
        "top_logprobs": asked.top_logprobs or 0,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": shown_choice or "auto",
        "tools": [shown(tool) for tool in asked.tools or ()],
        "truncation": asked.truncation or "disabled",
        "user": asked.user,
        "safety_identifier": asked.safety_identifier,
        "prompt_cache_key": asked.prompt_cache_key,
    }


def number(asked: float | None, default: float) -> float:
    return default if asked is None else asked


def shown(tool: Tool) -> dict[str, Any]:
    """A tool as it was sent; a function gets every field that clients expect."""
    expected: dict[str, Any] = {}
    if tool.type == "function":
        expected = {"description": None, "parameters": None, "strict": False}
    return {**expected, **tool.model_dump(exclude_unset=True)}


def part_status(part: Part, parts: Sequence[Part], incomplete: str | None) -> str:
    cut = incomplete and part is parts[-1]
    return "incomplete" if cut or not part.whole else "completed"


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        # The dialect's clients require both counts.
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def logprobs_of(scored: Sequence[ScoredText]) -> list[TokenLogprob]:
    """Those of the answer's own text: tokens before it, such as markup, are left out."""
    found: list[TokenLogprob] = []
    for text, tokens in scored:
        missing, first = len(text.encode()), len(tokens)
        while missing > 0 and first:
            first -= 1
            raw = tokens[first].get("bytes")
            token = str(tokens[first].get("token", ""))
            missing -= len(raw if isinstance(raw, list) else token.encode())
        found += tokens[first:]
    return found
