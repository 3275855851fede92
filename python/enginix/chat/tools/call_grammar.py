"""A grammar for calls written as tags (Qwen3-Coder, Nemotron 3), in the EBNF that engines share.

llama.cpp's GBNF and xgrammar's EBNF have the same rules, literals, classes and repetitions; rule
names are letters and digits here because llama.cpp takes no underscores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enginix.chat.tools.call_schema import Function
from enginix.chat.tools.schema_grammar import Rules, literal

END_OF_VALUE = "</parameter>"


def grammar(functions: Sequence[Function]) -> str:
    """One call of one of `functions`, from `<function=` to `</function>`; the rule is `root`."""
    rules = Rules()
    calls = [_call(rules, function) for function in functions]
    return rules.text(" | ".join(calls))


def _call(rules: Rules, function: Function) -> str:
    root = function.parameters
    properties = root.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = root.get("required")
    required = required if isinstance(required, Sequence) else ()
    parts = [literal(f"<function={function.name}>\n")]
    for name, schema in properties.items():
        parameter = _parameter(rules, name, schema, root)
        parts.append(parameter if name in required else f"({parameter})?")
    parts.append(literal("</function>"))
    return rules.add("call", " ".join(parts))


def _parameter(rules: Rules, name: str, schema: Any, root: Mapping[str, Any]) -> str:
    value = _value(rules, schema, root)
    opening, closing = literal(f"<parameter={name}>\n"), literal(f"\n{END_OF_VALUE}\n")
    return rules.add("parameter", f"{opening} {value} {closing}")


def _value(rules: Rules, schema: Any, root: Mapping[str, Any]) -> str:
    """Strings stand as they are, everything else as JSON."""
    schema = rules.resolved(schema, root)
    if isinstance(schema, Mapping):
        constants = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(constants, list) and all(isinstance(each, str) for each in constants):
            return "(" + " | ".join(map(literal, constants)) + ")"
        if schema.get("type") != "string":
            return rules.json(schema, root)
    return _text(rules) if isinstance(schema, Mapping) else rules.json(schema, root)


def _text(rules: Rules) -> str:
    """Any text that does not hold the end tag; `tag3` has read three characters of it."""
    first, last = END_OF_VALUE[0], len(END_OF_VALUE) - 1
    rules.named["text"] = f"([^{first}] | tag)*"
    rules.named["tag"] = f"{literal(first)} tag1"
    for read in range(1, last + 1):
        expected = END_OF_VALUE[read]
        further = f" | {literal(expected)} tag{read + 1}" if read < last else ""
        rules.named[f"tag{read}"] = f"[^{expected}{first}] | tag{further}"
    return "text"
