"""Bounds on guided decoding, checked before a guide reaches an engine.

A schema of thirty bytes can demand a billion items, and engines build whatever they are asked to
enforce. Every refusal names the exceeded limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from enginix.errors import RequestError
from enginix.gateway.settings import GuideLimits
from enginix.generation.request import Guide

# JSON Schema keywords that offer a choice of values, and keywords that make an engine repeat.
CHOOSING = ("enum", "anyOf", "oneOf")
REPEATING = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength")
# The parts of a grammar or regular expression that count; escapes, literals and sets are skipped.
PATTERN_PARTS = re.compile(
    r"\\.|\[\^?\]?(?:[^\]\\]|\\.)*\]|(?P<open>\((?:\?[:=!<])?)|(?P<close>\))|(?P<many>[*+?])"
    r"|\{\s*(?P<least>\d*)\s*(?P<comma>,?)\s*(?P<most>\d*)\s*\}",
    re.DOTALL,
)
GRAMMAR_LITERALS = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')

# Where a request of any dialect may contain a guide: paths by the type of the guide.
SCHEMAS = (
    ("response_format", "json_schema", "schema"),
    ("response_format", "schema"),
    ("text", "format", "schema"),
    ("output_config", "format", "schema"),
    ("output_format", "schema"),
    ("structured_outputs", "json"),
    ("guided_json",),
    ("json_schema",),
)
REGEXES = (
    ("response_format", "pattern"),
    ("response_format", "regex"),
    ("structured_outputs", "regex"),
    ("guided_regex",),
    ("regex",),
)
GRAMMARS = (
    ("response_format", "grammar"),
    ("response_format", "ebnf"),
    ("structured_outputs", "grammar"),
    ("guided_grammar",),
    ("grammar",),
    ("ebnf",),
)
CHOICES = (("structured_outputs", "choice"), ("guided_choice",))
GUIDE_KEYS = frozenset(path[0] for path in (*SCHEMAS, *REGEXES, *GRAMMARS, *CHOICES))
TOOL_SCHEMAS = (("function", "parameters"), ("parameters",), ("input_schema",))


def check_guide(guide: Guide, limits: GuideLimits, param: str) -> None:
    """Refuse a guide that is too expensive for any engine to compile."""
    _check_size(len(guide.text), limits, param)
    if guide.kind == "json_schema":
        try:
            schema = orjson.loads(guide.text)
        except orjson.JSONDecodeError:
            # The engine reports the error.
            return
        check_schema(schema, limits, param)
    elif guide.kind == "regex":
        _check_pattern(guide.text, limits, param)
    elif guide.kind == "ebnf_grammar":
        rules = GRAMMAR_LITERALS.sub("", guide.text)
        _check_pattern(rules, replace(limits, quantifiers=limits.grammar_quantifiers), param)


def check_body(request: Mapping[str, Any], limits: GuideLimits) -> None:
    """Refuse a request for another server whose guides or tools exceed the limits."""
    if not GUIDE_KEYS.isdisjoint(request):
        _check_guides(request, limits)
    tools = request.get("tools")
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        for path in TOOL_SCHEMAS:
            if (found := _at(tool, path)) is not None:
                check_schema(found, limits, ".".join((f"tools[{place}]", *path)))


def _check_guides(request: Mapping[str, Any], limits: GuideLimits) -> None:
    for path in SCHEMAS:
        found = _at(request, path)
        if isinstance(found, str):
            check_guide(Guide("json_schema", found), limits, ".".join(path))
        elif found is not None:
            check_schema(found, limits, ".".join(path))
    for kind, paths in (("regex", REGEXES), ("ebnf_grammar", GRAMMARS)):
        for path in paths:
            if isinstance(found := _at(request, path), str):
                check_guide(Guide(kind, found), limits, ".".join(path))
    for path in CHOICES:
        if isinstance(found := _at(request, path), list):
            check_schema({"enum": found}, limits, ".".join(path))


def check_schema(schema: Any, limits: GuideLimits, param: str) -> None:
    level, depth, values, characters = [schema], 0, 0, 0
    while level:
        depth += 1
        if depth > limits.depth:
            raise _refused(param, f"nested deeper than {limits.depth} levels")
        for part in level:
            if isinstance(part, Mapping):
                _check_keywords(part, limits, param)
            characters += _characters(part)
        _check_size(characters, limits, param)
        level = [child for part in level for child in _children(part)]
        values += len(level)
        if values > limits.values:
            raise _refused(param, f"more than {limits.values} values")


def _check_keywords(schema: Mapping[str, Any], limits: GuideLimits, param: str) -> None:
    for keyword in REPEATING:
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and bound > limits.repetitions:
            raise _refused(param, f"{keyword} {bound:g}, the maximum is {limits.repetitions}")
    for keyword in CHOOSING:
        choices = schema.get(keyword)
        if isinstance(choices, list) and len(choices) > limits.choices:
            raise _refused(
                param,
                f"an {keyword} of {len(choices)} values, the maximum is {limits.choices}",
            )
    if isinstance(pattern := schema.get("pattern"), str):
        _check_pattern(pattern, limits, param)


def _check_pattern(text: str, limits: GuideLimits, param: str) -> None:
    depth = quantifiers = 0
    for part in PATTERN_PARTS.finditer(text):
        quantifiers += part["many"] is not None
        if quantifiers > limits.quantifiers:
            raise _refused(param, f"more than {limits.quantifiers} of *, + and ? in one pattern")
        depth += (part["open"] is not None) - (part["close"] is not None)
        if depth > limits.depth:
            raise _refused(param, f"parentheses nested deeper than {limits.depth} levels")
        if part["least"] is None or not (part["least"] or part["most"]):
            continue
        least, most = (_bounded(part[name], limits, param) for name in ("least", "most"))
        if part["most"] and most < least:
            raise _refused(param, f"{part.group()}, which is at least {least} and at most {most}")


def _bounded(digits: str, limits: GuideLimits, param: str) -> int:
    # Python itself refuses to parse numbers of thousands of digits.
    if len(digits) > 18 or int(digits or 0) > limits.repetitions:
        raise _refused(param, f"{digits[:20]} repetitions, the maximum is {limits.repetitions}")
    return int(digits or 0)


def _check_size(size: int, limits: GuideLimits, param: str) -> None:
    if size > limits.characters:
        raise _refused(param, f"{size} characters, the maximum is {limits.characters}")


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        # Decoded JSON, of which most has none of these.
        if value.__class__ is not dict or name not in value:
            return None
        value = value[name]
    return value


def _characters(part: Any) -> int:
    """The length of a string or of an object's keys; nested values count separately."""
    if isinstance(part, str):
        return len(part)
    return sum(map(len, part)) if isinstance(part, Mapping) else 0


def _children(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list):
        yield from part


def _refused(param: str, what: str) -> RequestError:
    return RequestError(
        f"{param} cannot be enforced by this server: it has {what}; make it smaller",
        param=param,
        code="invalid_value",
    )
