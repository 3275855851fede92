"""The arguments of a call as JSON text: which of them are whole, and which are mended.

A client runs what parses. So arguments that a limit cut, or that the model gave up, are never
completed: they stay the beginning of an object, which no reader of JSON takes. Only a call that
its model ended is mended, and only so that it says what was written:

- in JSON: a raw control character, an unknown escape or half a surrogate pair in a string, and a
  comma before a closing bracket (`tools/json_value.py`);
- around it: closing tags and brackets of the call itself, once its arguments are whole
  (`tools/json_calls.py`), and in XML an end tag that is missing before the next one
  (`tools/qwen3_xml.py`);
- arguments that are no object: absent, null or empty ones are `{}`, an object that was written as
  a string is that object, and any other value stands under an empty name, where it is seen and
  no schema takes it.
"""

from __future__ import annotations

import json
from typing import NoReturn

NONE = "{}"


def is_whole(arguments: str) -> bool:
    """Whether a client can read these arguments: they are a JSON object with its end."""
    return isinstance(_loaded(arguments), dict)


def as_object(arguments: str) -> str:
    """Whole arguments of any kind as a JSON object; what is no JSON comes back as it is."""
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
    return '{"": %s}' % arguments.strip()  # noqa: UP031, braces are what this is about


def _loaded(text: str) -> object:
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
