"""What is asked and what must come back: the recorded answers of both demo models, and mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[2] / "tests" / "recordings"
MODELS = {"demo": "demo-evals.json", "demo-llama": "demo-llama-evals.json"}
ENDS = ("<|im_end|>", "<|eot_id|>")
CHAT = "/v1/chat/completions"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome", "Oslo"]}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "degrees": {"enum": [1, 2]}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Said:
    """One answer as a client sees it."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    model: str
    body: dict[str, Any]
    answer: Said


def questions(model: str) -> list[Question]:
    rows = json.loads((RECORDINGS / MODELS[model]).read_text(encoding="utf-8"))
    return [Question(model, _body(model, row), _answer(row["answer"])) for row in rows]


def _body(model: str, row: dict[str, Any]) -> dict[str, Any]:
    messages = row["messages"]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 400}
    if row["tools"]:
        body["tools"] = row["tools"]
    if model == "demo":
        body["chat_template_kwargs"] = {"enable_thinking": row["thinking"]}
    else:
        # Other servers want arguments as the API has them: a text.
        body["messages"] = [_openai_message(message) for message in messages]
    return body


def _openai_message(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return {**message, "tool_call_id": "c0"} if message["role"] == "tool" else message
    return {
        **message,
        "tool_calls": [
            {
                "id": f"c{place}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"]),
                },
            }
            for place, call in enumerate(calls)
        ],
    }


def _answer(text: str) -> Said:
    """Taken from the recorded text by the plainest means."""
    for end in ENDS:
        text = text.removesuffix(end)
    reasoning = ""
    if text.startswith("<think>"):
        thought, _, text = text.partition("</think>\n\n")
        reasoning = thought.removeprefix("<think>\n").removesuffix("\n")
    inner = text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    if inner != text or text.startswith('{"name"'):
        call = json.loads(inner)
        arguments = call.get("arguments", call.get("parameters"))
        return Said(reasoning, "", ((call["name"], json.dumps(arguments, sort_keys=True)),))
    return Said(reasoning, text)


def said(message: dict[str, Any]) -> Said:
    """Of a whole answer's message."""
    calls = tuple(
        (call["function"]["name"], _canonical(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    )
    return Said(message.get("reasoning_content") or "", message.get("content") or "", calls)


def said_in_stream(chunks: list[dict[str, Any]]) -> Said:
    """Of a stream's events, put together."""
    reasoning, content, calls = "", "", {}
    for chunk in chunks:
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            reasoning += delta.get("reasoning_content") or ""
            content += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                name, arguments = calls.get(call["index"], ("", ""))
                function = call["function"]
                name += function.get("name") or ""
                calls[call["index"]] = (name, arguments + (function.get("arguments") or ""))
    whole = tuple((name, _canonical(arguments)) for name, arguments in calls.values())
    return Said(reasoning, content, whole)


def _canonical(arguments: str) -> str:
    return json.dumps(json.loads(arguments), sort_keys=True)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# Path, body, and the status that must come back.
INVALID: tuple[tuple[str, Any, int], ...] = (
    (CHAT, b"{", 400),
    (CHAT, {"model": "demo"}, 400),
    (CHAT, {"model": "nobody", "messages": user("x")}, 404),
    (CHAT, {"model": "demo", "messages": user("x"), "temperature": -3}, 400),
    (CHAT, {"model": "demo", "messages": user("x " * 90_000)}, 400),
    (CHAT, {"model": "demo", "messages": user("x"), "n": 1000}, 400),
    ("/v1/completions", {"model": "demo", "prompt": 3.5}, 400),
    ("/v1/messages", {"model": "demo", "messages": user("x")}, 400),
    ("/v1/responses", {"model": "demo"}, 400),
    ("/v1/nothing", {}, 404),
    ("/v1/models/load", {"model": "nobody-has-it"}, 404),
)

# Kind, text: beyond what any engine is asked to follow, whatever it is asked as.
HOSTILE_GUIDES: tuple[tuple[str, str], ...] = (
    ("regex", "a{1000000}"),
    ("grammar", 'root ::= "a"{5,1}'),
    ("grammar", "root ::= " + "(" * 5000),
    ("grammar", 'root ::= "a"{18446744073709551617}'),
    ("json", '{"type": "array", "minItems": 1000000000}'),
    ("json", json.dumps({"enum": [str(each) for each in range(20_000)]})),
)
DOUBLED = "\n".join(f"{chr(97 + n)} ::= {chr(98 + n)} {chr(98 + n)}" for n in range(22))
# Within all numbers, and still seconds of work: for the trial to find. A {} makes each a new one.
HEAVY_GUIDES: tuple[tuple[str, str], ...] = (
    ("regex", "x{}" + "[a-z]*" * 2000),
    ("grammar", f'root ::= "{{}}" a\n{DOUBLED}\nw ::= "x"'),
    ("grammar", 'root ::= "{}" a\na ::= "x"{{9999}} a{{9999}}'),
    ("json", '{{"title": "{}", "allOf": [' + ", ".join(
        '{{"anyOf": [' + ", ".join(
            f'{{{{"properties": {{{{"k{n}": {{{{"const": {m}}}}}}}}}}}}}' for m in range(6)
        ) + "]}}" for n in range(12)
    ) + "]}}"),
)  # fmt: skip


def guided(model: str, kind: str, text: str) -> dict[str, Any]:
    """The fields that hold an answer of `model` to a guide."""
    if model == "demo":
        return {f"guided_{kind}": text}
    if kind == "grammar":
        return {"grammar": text}
    schema = json.loads(text) if kind == "json" else {"type": "string", "pattern": f"^{text}$"}
    form = {"type": "json_schema", "json_schema": {"name": "guided", "schema": schema}}
    return {"response_format": form}
