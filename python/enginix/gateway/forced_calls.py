"""Makes a model call a function: its reply is begun for it, in the words of its own format."""

from __future__ import annotations

import json
from collections.abc import Callable

from enginix.errors import RequestError


def _json_call(opening: str, arguments: str) -> Callable[[str | None], str]:
    def begin(name: str | None) -> str:
        # Both end where a token ends: a word begun in its middle is one the model never learnt.
        if name is None:
            return f'{opening}{{"name": "'
        return f'{opening}{{"name": {json.dumps(name, ensure_ascii=False)}, "{arguments}":'

    return begin


def _xml_call(name: str | None) -> str:
    return "<tool_call>\n<function=" + (f"{name}>\n" if name is not None else "")


# Format -> how a call of that function, or of any, begins.
BEGINNINGS: dict[str, Callable[[str | None], str]] = {
    "hermes-json": _json_call("<tool_call>\n", "arguments"),
    "llama3-json": _json_call("", "parameters"),
    "mistral": _json_call("[TOOL_CALLS][", "arguments"),
    "nemotron-json": _json_call("<TOOLCALL>[", "arguments"),
    "qwen3-xml": _xml_call,
}


def call_beginning(format: str | None, name: str | None) -> str:
    """The first words of a reply that calls `name`, or whichever function it likes."""
    if format is None:
        raise RequestError(
            "this model has no tool-call format, so it cannot be made to call a function; "
            "leave tool_choice out",
            param="tool_choice",
            code="unsupported_parameter",
        )
    return BEGINNINGS[format](name)
