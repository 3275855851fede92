"""Reads an answer like an agent: combines the events of its dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class HeardCall:
    id: str
    name: str
    arguments: str = ""
    namespace: str | None = None


@dataclass
class Heard:
    text: str = ""
    thought: str = ""
    end: str | None = None
    """The dialect's own finish reason."""
    calls: list[HeardCall] = field(default_factory=list)


def hear(client: httpx.Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> Heard:
    """Post the request and read the complete answer."""
    with client.stream("POST", path, json=body, headers=headers) as answer:
        text = answer.read().decode()
    assert answer.status_code == 200, text
    if not body.get("stream"):
        return whole(json.loads(text))
    events = [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ") and line != "data: [DONE]"
    ]
    read = {"/v1/responses": of_response, "/v1/messages": of_message}
    return read.get(path.partition("?")[0], of_chat)(events)


def whole(document: dict[str, Any]) -> Heard:
    """An answer without streaming."""
    if document.get("object") == "response":
        return of_items(document["output"], document["status"])
    if document.get("type") == "message":
        return of_blocks(document["content"], document["stop_reason"])
    choice = document["choices"][0]
    message = choice["message"]
    heard = Heard(message["content"] or "", message.get("reasoning_content") or "")
    heard.end = choice["finish_reason"]
    for call in message.get("tool_calls", ()):
        function = call["function"]
        heard.calls.append(HeardCall(call["id"], function["name"], function["arguments"]))
    return heard


def of_chat(events: list[dict[str, Any]]) -> Heard:
    heard = Heard()
    for event in events:
        for choice in event["choices"]:
            delta = choice["delta"]
            heard.text += delta.get("content") or ""
            heard.thought += delta.get("reasoning_content") or ""
            heard.end = choice["finish_reason"] or heard.end
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(heard.calls):
                    heard.calls.append(HeardCall(call["id"], call["function"]["name"]))
                heard.calls[call["index"]].arguments += call["function"]["arguments"]
    return heard


def of_response(events: list[dict[str, Any]]) -> Heard:
    """What Codex reads: the items that are done, and how the response ended."""
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    heard = of_items(items, events[-1]["response"]["status"])
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert heard.text == "".join(event["delta"] for event in deltas)
    return heard


def of_items(items: list[dict[str, Any]], status: str) -> Heard:
    heard = Heard(end=status)
    for item in items:
        if item["type"] == "message":
            heard.text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "reasoning":
            # The summary, where the agent asks for one.
            said = item.get("content") or item["summary"]
            heard.thought += "".join(part["text"] for part in said)
        else:
            assert item["type"] == "function_call", item
            call = HeardCall(item["call_id"], item["name"], item["arguments"])
            call.namespace = item.get("namespace")
            heard.calls.append(call)
    return heard


def of_message(events: list[dict[str, Any]]) -> Heard:
    heard, kinds = Heard(), {}
    for event in events:
        if event["type"] == "content_block_start":
            block = kinds[event["index"]] = event["content_block"]
            if block["type"] == "tool_use":
                heard.calls.append(HeardCall(block["id"], block["name"]))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.thought += delta.get("thinking", "")
            if "partial_json" in delta:
                heard.calls[-1].arguments += delta["partial_json"]
        elif event["type"] == "message_delta":
            heard.end = event["delta"]["stop_reason"]
    return heard


def of_blocks(blocks: list[dict[str, Any]], end: str) -> Heard:
    heard = Heard(end=end)
    for block in blocks:
        heard.text += block.get("text", "")
        heard.thought += block.get("thinking", "")
        if block["type"] == "tool_use":
            call = HeardCall(block["id"], block["name"], json.dumps(block["input"]))
            heard.calls.append(call)
    return heard
