"""Responses as bytes: numbered events with output items, or the whole response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from enginix.chat.events import Answer, Reasoning
from enginix.chat.pieces import PlainEvents
from enginix.gateway.api.custom_input import InputText
from enginix.gateway.api.responses_body import ResponseBody, logprobs_of
from enginix.gateway.http.document import WholeChoice
from enginix.gateway.http.errors import Failure
from enginix.gateway.reply.parts import Part, Parts
from enginix.generation.reply import Counted, Finished, Logprobs, PlainBytes, ReplyEvent, Usage

dumps = orjson.dumps

Done = Callable[[bytes, Sequence[Part]], None]
ARGUMENTS = "response.function_call_arguments"
INPUT = "response.custom_tool_call_input"
END = b"}\n\n"
# Our error codes -> those that clients handle.
CODES = {"overloaded": "rate_limit_exceeded"}


class ResponseStream:
    """Events from response.created to response.completed, each with its number."""

    def __init__(self, body: ResponseBody, done: Done = lambda body, parts: None) -> None:
        self._body = body
        self._done = done
        self._parts = Parts()
        self._open: Part | None = None
        self._before = self._after = b""
        self._input: InputText | None = None
        """Of a custom tool's call that is open."""
        self._silent = False
        """What is open is started_item when it is whole."""
        self._scored_sent = 0
        """How many of its texts with log probabilities were sent."""
        self._number = 0
        self._finished: Finished | None = None

    def begin(self) -> bytes:
        response = self._body.body("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def encode(self, choice: int, events: Sequence[ReplyEvent]) -> bytes:
        return b"".join([self._encode(event) for event in events])

    def plain(self, choice: int, events: PlainEvents) -> PlainBytes[Answer | Reasoning] | None:
        part = self._parts.plain(events.kind)
        if part is None:
            return None
        # Each has a number, and the end of a response repeats its text.
        return PlainBytes(events, self._before, partial(self._numbered, part), END)

    def _numbered(self, part: Part, events: list[Answer | Reasoning]) -> bytes:
        """Deltas without the beginning of the first and the end of the last."""
        deltas = []
        for event in events:
            part.texts.append(event.text)
            deltas.append(b"%d%b%b" % (self._number, self._after, dumps(event.text)))
            self._number += 1
        return (END + self._before).join(deltas)

    def end(self, usage: Usage) -> bytes:
        reason = incomplete_reason(self._finished)
        closed = self._close("incomplete" if reason else "completed")
        status = "incomplete" if reason else "completed"
        response = self._body.body(status, self._parts.all, usage, incomplete=reason)
        self._done(dumps(response), self._parts.all)
        return closed + self._event(f"response.{status}", response=response)

    def fail(self, failure: Failure) -> bytes:
        code = failure.code or "server_error"
        error = {"code": CODES.get(code, code), "message": failure.message}
        response = self._body.body("failed", self._parts.all, error=error)
        return self._event("response.failed", response=response)

    def _encode(self, event: ReplyEvent) -> bytes:
        if isinstance(event, Finished):
            self._finished = event
            return b""
        if isinstance(event, Logprobs):
            self._parts.add_logprobs(event.tokens)
            return b""
        if isinstance(event, Counted):
            return b""
        part, text = self._parts.add(event)
        start = b"" if part is self._open else self._close("completed") + self._begin(part)
        if self._input is not None:
            text = self._input.feed(text)
        if not text or self._silent:
            return start
        if len(part.scored) > self._scored_sent:
            return start + self._delta_with_logprobs(part, text)
        number, self._number = self._number, self._number + 1
        return b"%b%b%d%b%b%b" % (start, self._before, number, self._after, dumps(text), END)

    def _begin(self, part: Part) -> bytes:
        self._open, self._scored_sent = part, 0
        tool = self._body.tool(part)
        self._input = InputText() if tool and tool.kind == "custom" else None
        self._silent = tool is not None and tool.kind not in ("function", "custom")
        if self._silent:
            return b""
        kind = self._body.kind_of(part)
        name = f"{INPUT if self._input else kind.text_event}.delta"
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
        added = self._added(part)
        if part.call is not None:
            return added
        content = self._body.content_of(part, "")
        return added + self._event(f"{kind.part_event}.added", **self._place(part), part=content)

    def _delta_with_logprobs(self, part: Part, text: str) -> bytes:
        logprobs = logprobs_of(part.scored[self._scored_sent :])
        self._scored_sent = len(part.scored)
        name = f"{self._body.kind_of(part).text_event}.delta"
        return self._event(name, **self._place(part), logprobs=logprobs, delta=text)

    def _close(self, status: str) -> bytes:
        part, self._open = self._open, None
        if part is None:
            return b""
        item = self._body.item(part, status if part.whole else "incomplete")
        if item is None:
            # The client has seen its start, but must not run it.
            return b""
        closed = self._ended(part, item)
        return closed + self._event("response.output_item.done", output_index=part.index, item=item)

    def _ended(self, part: Part, item: dict[str, Any]) -> bytes:
        place = self._place(part)
        if item["type"] == "custom_tool_call":
            assert self._input is not None, "it began as one"
            rest = self._input.rest(item["input"])
            delta = self._event(f"{INPUT}.delta", **place, delta=rest) if rest else b""
            return delta + self._event(f"{INPUT}.done", **place, input=item["input"])
        if item["type"] == "function_call":
            start = b""
            if self._silent:
                # Its arguments fit no item of its own kind; they are sent as they are.
                start = self._added(part)
                start += self._event(f"{ARGUMENTS}.delta", **place, delta=part.text)
            name, arguments = item["name"], item["arguments"]
            return start + self._event(f"{ARGUMENTS}.done", **place, name=name, arguments=arguments)
        if part.call is not None:
            added = {**item, "status": "in_progress"}
            return self._event("response.output_item.added", output_index=part.index, item=added)
        (content,) = item.get("content") or item["summary"]
        logprobs = {"logprobs": content["logprobs"]} if part.kind is Answer else {}
        kind = self._body.kind_of(part)
        return self._event(
            f"{kind.text_event}.done", **place, text=part.text, **logprobs
        ) + self._event(f"{kind.part_event}.done", **place, part=content)

    def _added(self, part: Part) -> bytes:
        item = self._body.started_item(part)
        return self._event("response.output_item.added", output_index=part.index, item=item)

    def _place(self, part: Part) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._body.item_id(part), "output_index": part.index}
        return place if part.call is not None else {**place, self._body.kind_of(part).place: 0}

    def _event(self, name: str, /, **fields: Any) -> bytes:
        data = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (name.encode(), dumps(data))


class ResponseDocument:
    def __init__(self, body: ResponseBody, done: Done) -> None:
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


def incomplete_reason(finished: Finished | None) -> str | None:
    return "max_output_tokens" if finished and finished.reason == "length" else None
