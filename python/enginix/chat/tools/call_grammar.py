"""A grammar for calls written as tags (Qwen3-Coder, Nemotron 3), in the common EBNF.

llama.cpp's GBNF and xgrammar's EBNF share rules, literals, classes and repetitions; rule names
here are letters and digits because llama.cpp does not accept underscores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.chat.tools.call_schema import Function
from enginix.chat.tools.schema_grammar import Rules, literal
from enginix.chat.tools.schema_parts import described_properties
from enginix.chat.tools.xml_arguments import schema_types, string_constants
from enginix.errors import RequestError

END_OF_VALUE = "</parameter>"


def grammar(functions: Sequence[Function]) -> str:
    """One call of one of `functions`, from `<function=` to `</function>`; the rule is `root`."""
    rules = Rules()
    calls = [_call(rules, function) for function in functions]
    return rules.text(" | ".join(calls))


def _call(rules: Rules, function: Function) -> str:
    root = function.parameters
    opening = literal(f"<function={_tag_name(function.name)}>\n")
    bodies = [_parameters(rules, variant, root) for variant in rules.variants(root, root)]
    parameters = " | ".join(dict.fromkeys(bodies))
    return rules.add("call", f"{opening} ({parameters}) {literal('</function>')}")


def _parameters(rules: Rules, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    required = schema.get("required")
    required = required if isinstance(required, Sequence) else ()
    parts = []
    for name, each in described_properties(schema).items():
        parameter = _parameter(rules, _tag_name(name), each, root)
        parts.append(parameter if name in required else f"({parameter})?")
    return rules.add("parameters", " ".join(parts) or '""')


def _tag_name(name: str) -> str:
    """A name as it appears in a tag, which has no escapes."""
    if name.strip() != name or not name or set(name) & set("<>\n"):
        raise RequestError(
            f"tools: this model's call format cannot express the name {name!r}; use names without "
            "<, > and line breaks, and without spaces at their ends",
            param="tools",
            code="invalid_value",
        )
    return name


def _parameter(rules: Rules, name: str, schema: Any, root: Mapping[str, Any]) -> str:
    value = _value(rules, schema, root)
    opening, closing = literal(f"<parameter={name}>\n"), literal(f"\n{END_OF_VALUE}\n")
    return rules.add("parameter", f"{opening} {value} {closing}")


def _value(rules: Rules, schema: Any, root: Mapping[str, Any]) -> str:
    """Strings verbatim, everything else as JSON: the parser uses the same types."""
    types = schema_types(schema, root)
    if types == {"string"}:
        constants = string_constants(schema, root)
        return f"({' | '.join(map(literal, constants))})" if constants else _text(rules)
    value = rules.json(schema, root)
    return _text(rules) if value == "value" and not types else value


def _text(rules: Rules) -> str:
    """Any text without the end tag; `tagN` has matched N characters of it."""
    first, last = END_OF_VALUE[0], len(END_OF_VALUE) - 1
    rules.named["text"] = f"([^{first}] | tag)*"
    rules.named["tag"] = f"{literal(first)} tag1"
    for read in range(1, last + 1):
        expected = END_OF_VALUE[read]
        further = f" | {literal(expected)} tag{read + 1}" if read < last else ""
        rules.named[f"tag{read}"] = f"[^{expected}{first}] | tag{further}"
    return "text"
