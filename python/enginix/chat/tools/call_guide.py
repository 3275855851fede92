"""Constrains a call of one of a request's functions in a form that engines can enforce.

A model that must call a function gets the call's opening as a prefill, and a constraint for the
rest: a JSON schema where the format is JSON, a grammar where it is tags. Then even a model that
generates noise calls an existing function with arguments that match its schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enginix.chat.tools import call_grammar
from enginix.chat.tools.call_schema import Function, any_call
from enginix.errors import RequestError

JSON_SCHEMA = "json_schema"
GRAMMAR = "ebnf_grammar"


@dataclass(frozen=True, slots=True)
class CallGuide:
    """`kind` and `text` as TensorRT-LLM's guided_decoding_guide_type and guided_decoding_guide."""

    opening: str
    """Text that precedes the call; the constraint applies after it."""
    kind: str
    text: str
    closing: str = ""
    """Text after a constrained call if another may follow; empty if the constraint covers all."""

    def in_place_of(self, marker: str) -> str:
        """The text that replaces `marker`, written by the model, so that the guide can follow.

        Empty if the guide's own text starts with the marker.
        """
        if self.opening.startswith(marker):
            return self.opening
        return "" if marker in BARE_MARKERS else marker


# Markers that are the first characters of the guided text itself.
BARE_MARKERS = ("{", "<function=")


def functions_of(tools: Sequence[Mapping[str, Any]], *, strict_only: bool) -> tuple[Function, ...]:
    """The functions in a request's `tools`.

    With `strict_only`, functions that are not `strict` accept any object as arguments.
    """
    return tuple(_function(tool.get("function", tool), strict_only) for tool in tools)


def call_guide(format: str, functions: Sequence[Function], *, one_call: bool) -> CallGuide:
    """The guide for calls of `functions` in one of the tool-call formats of `chat/reply.py`."""
    return _FORMATS[format](functions, one_call)


def answer_or_call(format: str, functions: Sequence[Function], answer: Any) -> CallGuide | None:
    """One guide for an answer or a call, for a format whose calls are JSON without a marker.

    `answer` is the answer's JSON schema. Without a marker a first brace decides nothing.
    """
    if format != "llama3-json":
        return None
    return CallGuide("", JSON_SCHEMA, _json(any_call(functions, "parameters", answer=answer)))


def _function(function: Mapping[str, Any], strict_only: bool) -> Function:
    if strict_only and not function.get("strict"):
        return Function(function["name"], {"type": "object"})
    # A function without parameters takes no arguments.
    parameters = function.get("parameters") or NO_PARAMETERS
    declared = parameters.get("type", "object")
    if declared != "object" and not (isinstance(declared, list) and "object" in declared):
        raise RequestError(
            f"tools: the parameters of {function['name']} have type {declared!r}; a function's "
            "arguments must be an object",
            param="tools",
            code="invalid_value",
        )
    # A schema without a type allows anything, but arguments must be an object.
    return Function(function["name"], {**parameters, "type": "object"})


NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def _hermes(functions: Sequence[Function], one_call: bool) -> CallGuide:
    schema = any_call(functions, "arguments")
    return CallGuide("<tool_call>\n", JSON_SCHEMA, _json(schema), "\n</tool_call>")


def _llama3(functions: Sequence[Function], one_call: bool) -> CallGuide:
    return CallGuide("", JSON_SCHEMA, _json(any_call(functions, "parameters")))


def _list_after(opening: str) -> Callable[[Sequence[Function], bool], CallGuide]:
    def guide(functions: Sequence[Function], one_call: bool) -> CallGuide:
        schema = any_call(functions, "arguments", listed=True, one_call=one_call)
        return CallGuide(opening, JSON_SCHEMA, _json(schema))

    return guide


def _qwen3_xml(functions: Sequence[Function], one_call: bool) -> CallGuide:
    grammar = call_grammar.grammar(functions)
    return CallGuide("<tool_call>\n", GRAMMAR, grammar, "\n</tool_call>")


_FORMATS: dict[str, Callable[[Sequence[Function], bool], CallGuide]] = {
    "hermes-json": _hermes,
    "llama3-json": _llama3,
    "mistral": _list_after("[TOOL_CALLS]"),
    "nemotron-json": _list_after("<TOOLCALL>"),
    "qwen3-xml": _qwen3_xml,
}


def _json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
