"""Responses as bytes: numbered events with output items, or the whole response."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import orjson

from enginix.chat.events import Answer, Event, Reasoning
from enginix.gateway.ask import AnyAsk, Counted, Finished, Logprobs, ReplyEvent, Usage
from enginix.gateway.document import WholeChoice
from enginix.gateway.errors import Failure
from enginix.gateway.parts import Part, Parts
from enginix.gateway.schema.responses import ResponseRequest, Tool

dumps = orjson.dumps

# Kind of a part -> what its item's ids begin with, its content's type, its delta's event.
MESSAGE = ("msg", "output_text", "response.output_text")
REASONING = ("rs", "reasoning_text", "response.reasoning_text")
CALL = ("fc", "", "response.function_call_arguments")


class ResponseBody:
    """The response object as it grows: what is the same in every event that shows it."""

    def __init__(self, ask: AnyAsk, request: ResponseRequest) -> None:
        self.id = ask.id
        self._created = int(time.time())
        self._model = ask.model.name
        self._request = request
        self._ids: dict[int, str] = {}

    def body(
        self,
        status: str,
        parts: Sequence[Part] = (),
        usage: Usage | None = None,
        *,
        incomplete: str | None = None,
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        asked = self._request
        text = asked.text.model_dump(by_alias=True, exclude_none=True) if asked.text else {}
        choice = asked.tool_choice
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": self._model,
            "output": [
                self.item(part, self.part_status(part, parts, incomplete)) for part in parts
            ],
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "reasoning": {
                "effort": asked.reasoning.effort if asked.reasoning else None,
                "summary": None,
            },
            "service_tier": "default",
            "store": asked.store is not False,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"}, **text},
            "tool_choice": choice.model_dump(exclude_none=True)
            if choice is not None and not isinstance(choice, str)
            else choice or "auto",
            "tools": [shown(tool) for tool in asked.tools or ()],
            "top_p": asked.top_p,
            "truncation": asked.truncation or "disabled",
            "usage": usage_of(usage) if usage else None,
            "user": asked.user,
        }

    def part_status(self, part: Part, parts: Sequence[Part], incomplete: str | None) -> str:
        cut = incomplete and part is parts[-1]
        return "incomplete" if cut or not part.whole else "completed"

    def item(self, part: Part, status: str, *, empty: bool = False) -> dict[str, Any]:
        """An output item; `empty` as it is when it is announced."""
        kind = kind_of(part)
        item: dict[str, Any] = {"id": self.item_id(part), "status": status}
        if kind is CALL:
            assert part.call is not None, "it is a call"
            return {
                **item,
                "type": "function_call",
                "call_id": part.call.id,
                "name": part.call.name,
                "arguments": "" if empty else part.text,
            }
        content = [] if empty else [content_of(part)]
        if kind is REASONING:
            return {**item, "type": "reasoning", "summary": [], "content": content}
        return {**item, "type": "message", "role": "assistant", "content": content}

    def item_id(self, part: Part) -> str:
        if part.index not in self._ids:
            self._ids[part.index] = f"{kind_of(part)[0]}_{uuid4().hex}"
        return self._ids[part.index]


class ResponseStream:
    """Events from response.created to response.completed, each with its number."""

    def __init__(self, body: ResponseBody, done: Callable[[bytes, Sequence[Part]], None]) -> None:
        self._body = body
        self._done = done
        self._parts = Parts()
        self._open: Part | None = None
        self._before = self._after = b""
        self._number = 0
        self._finished: Finished | None = None

    def begin(self) -> bytes:
        response = self._body.body("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes:
        return b"".join([self._encode(event) for event in events])

    def end(self, usage: Usage) -> bytes:
        closed = self._close("completed" if self._reason() is None else "incomplete")
        reason = self._reason()
        status = "incomplete" if reason else "completed"
        response = self._body.body(status, self._parts.all, usage, incomplete=reason)
        self._done(dumps(response), self._parts.all)
        return closed + self._event(f"response.{status}", response=response)

    def fail(self, failure: Failure) -> bytes:
        error = {"code": failure.code or "server_error", "message": failure.message}
        response = self._body.body("failed", self._parts.all, error=error)
        return self._event("response.failed", response=response)

    def _reason(self) -> str | None:
        return incomplete_reason(self._finished)

    def _encode(self, event: ReplyEvent) -> bytes:
        if isinstance(event, Finished):
            self._finished = event
            return b""
        if isinstance(event, Logprobs | Counted):
            return b""
        part, text = self._parts.add(event)
        begun = b"" if part is self._open else self._close("completed") + self._begin(part)
        if not text:
            return begun
        number, self._number = self._number, self._number + 1
        return b"%b%b%d%b%b}\n\n" % (begun, self._before, number, self._after, dumps(text))

    def _begin(self, part: Part) -> bytes:
        self._open = part
        name = f"{kind_of(part)[2]}.delta"
        # Everything of a delta but its number and its text.
        self._before = b'event: %b\ndata: {"type":"%b","sequence_number":' % (
            name.encode(),
            name.encode(),
        )
        fields = b"".join(
            b',"%b":%b' % (key.encode(), dumps(value)) for key, value in self._place(part).items()
        )
        logprobs = b',"logprobs":[]' if part.kind is Answer else b""
        self._after = fields + logprobs + b',"delta":'
        item = self._body.item(part, "in_progress", empty=True)
        added = self._event("response.output_item.added", output_index=part.index, item=item)
        if kind_of(part) is CALL:
            return added
        content = content_of(part, empty=True)
        return added + self._event("response.content_part.added", **self._place(part), part=content)

    def _close(self, status: str) -> bytes:
        part, self._open = self._open, None
        if part is None:
            return b""
        status = status if part.whole else "incomplete"
        place, name = self._place(part), f"{kind_of(part)[2]}.done"
        item = self._body.item(part, status)
        if part.call is not None:
            closed = self._event(name, **place, name=part.call.name, arguments=part.text)
        else:
            logprobs: dict[str, Any] = {"logprobs": []} if part.kind is Answer else {}
            closed = self._event(name, **place, text=part.text, **logprobs) + self._event(
                "response.content_part.done", **place, part=content_of(part)
            )
        return closed + self._event("response.output_item.done", output_index=part.index, item=item)

    def _place(self, part: Part) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._body.item_id(part), "output_index": part.index}
        return place if kind_of(part) is CALL else {**place, "content_index": 0}

    def _event(self, name: str, /, **fields: Any) -> bytes:
        data = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(data))


class ResponseDocument:
    def __init__(self, body: ResponseBody, done: Callable[[bytes, Sequence[Part]], None]) -> None:
        self._body = body
        self._done = done

    def document(self, choices: Sequence[WholeChoice], usage: Usage) -> dict[str, Any]:
        (choice,) = choices
        reason = incomplete_reason(choice.finished)
        status = "incomplete" if reason else "completed"
        parts = choice.parts
        body = self._body.body(status, parts, usage, incomplete=reason)
        self._done(dumps(body), parts)
        return body


def shown(tool: Tool) -> dict[str, Any]:
    """As it was sent, and a function with all that clients expect of one."""
    expected = {"parameters": None, "strict": False} if tool.type == "function" else {}
    return {**expected, **tool.model_dump(exclude_unset=True)}


def kind_of(part: Part) -> tuple[str, str, str]:
    kind: type[Event] = part.kind
    return MESSAGE if kind is Answer else REASONING if kind is Reasoning else CALL


def content_of(part: Part, *, empty: bool = False) -> dict[str, Any]:
    text = "" if empty else part.text
    if part.kind is Reasoning:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def incomplete_reason(finished: Finished | None) -> str | None:
    return "max_output_tokens" if finished and finished.reason == "length" else None


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
