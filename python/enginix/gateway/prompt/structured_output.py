"""Structured output: OpenAI's response_format and the extensions of local servers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from enginix.errors import RequestError
from enginix.gateway.prompt.parameters import missing
from enginix.gateway.schema.chat import GuidedFields, ResponseFormat, StructuredOutputs
from enginix.gateway.schema.fields import Schema
from enginix.generation.request import Guide

# llama.cpp's own clients send an empty grammar to mean none.
LLAMA_CPPS = "grammar"
# Field -> the function that makes its value a guide.
Makers = dict[str, Callable[[Any], Guide | None]]


def guide_of(fields: GuidedFields) -> Guide | None:
    """The guide that a request asks for; None for free text."""
    return _only_guide(fields, MAKERS)


def guide_param_of(fields: GuidedFields) -> str:
    """The field that asks for it: of the many, the one that an error has to name."""
    return next((name for name in MAKERS if getattr(fields, name)), "response_format")


def _only_guide(fields: Schema, makers: Makers, where: str = "") -> Guide | None:
    guided_fields: dict[str, Guide | None] = {}
    for name, make in makers.items():
        if (value := getattr(fields, name)) is not None:
            if value == "" and (where or name != LLAMA_CPPS):
                raise _empty(where + name.rstrip("_"))
            guided_fields[name] = make(value)
    guides = {name.rstrip("_"): guide for name, guide in guided_fields.items() if guide is not None}
    if len(guides) > 1:
        raise RequestError(
            f"{' and '.join(guides)} each constrain the answer; send only one of them",
            param=next(iter(guides)),
            code="invalid_value",
        )
    return next(iter(guides.values()), None)


def _format_guide(format: ResponseFormat) -> Guide | None:
    match format.type:
        case "text":
            return None
        case "json_object":
            return Guide("json") if format.schema_ is None else _schema_guide(format.schema_)
        case "json_schema":
            schema = format.json_schema.schema_ if format.json_schema else None
            return _schema_guide(_needed(schema, "response_format.json_schema.schema"))
        case "json":
            return _schema_guide(_needed(format.schema_, "response_format.schema"))
        case "regex":
            pattern = format.regex if format.pattern is None else format.pattern
            return Guide("regex", _needed(pattern, "response_format.pattern"))
        case "ebnf":
            return Guide("ebnf_grammar", _needed(format.ebnf, "response_format.ebnf"))
        case "grammar":
            return Guide("ebnf_grammar", _needed(format.grammar, "response_format.grammar"))


def _schema_guide(schema: str | dict[str, Any] | bool) -> Guide:
    text = schema if isinstance(schema, str) else orjson.dumps(schema).decode()
    return Guide("json_schema", text)


def _choice_guide(choices: list[str]) -> Guide:
    return Guide("regex", "|".join(f"({re.escape(choice)})" for choice in choices))


def _structured_guide(guided_fields: StructuredOutputs) -> Guide | None:
    return _only_guide(guided_fields, STRUCTURED, "structured_outputs.")


def _any_json(wanted: bool) -> Guide | None:
    return Guide("json") if wanted else None


def _regex_guide(pattern: str) -> Guide:
    return Guide("regex", pattern)


def _grammar_guide(grammar: str) -> Guide | None:
    return Guide("ebnf_grammar", grammar) if grammar else None


STRUCTURED: Makers = {
    "json_": _schema_guide,
    "regex": _regex_guide,
    "choice": _choice_guide,
    "grammar": _grammar_guide,
    "json_object": _any_json,
}
MAKERS: Makers = {
    "response_format": _format_guide,
    "structured_outputs": _structured_guide,
    "json_schema": _schema_guide,
    "grammar": _grammar_guide,
    "regex": _regex_guide,
    "ebnf": _grammar_guide,
    "guided_json": _schema_guide,
    "guided_regex": _regex_guide,
    "guided_grammar": _grammar_guide,
    "guided_choice": _choice_guide,
}


def _needed(value: Any, where: str) -> Any:
    if value is None:
        raise missing(where)
    if value == "":
        raise _empty(where)
    return value


def _empty(where: str) -> RequestError:
    return RequestError(
        f"{where} is empty, which no answer can match; leave it out",
        param=where,
        code="invalid_value",
    )
