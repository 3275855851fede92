"""A tool call's arguments as JSON text: which are complete, and which get repaired.

A client executes whatever parses. So arguments that a limit cut off, or that the model abandoned,
are never completed: they stay an unclosed object, which no JSON parser accepts. Only a call that
the model ended is repaired, and only so that it means what the model wrote:

- in JSON: a raw control character, an unknown escape or half a surrogate pair in a string, and a
  comma before a closing bracket (`tools/json_value.py`);
- around it: closing tags and brackets of the call itself, once its arguments are complete
  (`tools/json_calls.py`), and in XML an end tag that is missing before the next one
  (`tools/qwen3_xml.py`);
- arguments that are not an object: absent, null or empty ones become `{}`, an object written as a
  string becomes that object, and any other value is stored under an empty key, where it is visible
  and no schema accepts it.
"""

from __future__ import annotations

import json
from typing import NoReturn

NONE = "{}"


def is_whole(arguments: str) -> bool:
    """Whether these arguments are a complete JSON object, which a client can parse."""
    return isinstance(_loaded(arguments), dict)


def as_object(arguments: str) -> str:
    """Convert complete arguments of any kind to a JSON object; return invalid JSON unchanged."""
    if not arguments.strip():
        return NONE
    value = _loaded(arguments)
    if value is None:
        return NONE if arguments.strip() == "null" else arguments
    if isinstance(value, dict):
        return arguments
    if isinstance(value, str):
        if not value.strip():
            return NONE
        if is_whole(value):
            return value
    return '{"": %s}' % arguments.strip()  # noqa: UP031, the text contains braces


def _loaded(text: str) -> object:
    try:
        value: object = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value


def refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
