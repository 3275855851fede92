"""Chooses the constraints on a reply's parts: forced calls, strict calls, guided answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson

from enginix.chat.tools.call_guide import (
    JSON_SCHEMA,
    CallGuide,
    answer_or_call,
    call_guide,
    functions_of,
)
from enginix.chat.tools.call_schema import closed
from enginix.errors import RequestError
from enginix.gateway.models.engine_model import EngineModel
from enginix.generation.reply import Phases, ReplyFormat
from enginix.generation.request import Guide

BEGIN_OF_REASONING = "<think>\n"
END_OF_REASONING = "</think>\n\n"

ANY_OBJECT = {"type": "object"}


@dataclass(slots=True)
class Constraints:
    """The constraints a request asks for."""

    must_call: bool = False
    must_call_name: str | None = None
    answer: Guide | None = None
    """The constraint on the answer."""
    reasons: bool = False
    """The request explicitly enables reasoning."""
    engine_guides: bool = True
    """Whether the engine supports guided decoding."""


def constrained(
    model: EngineModel, format: ReplyFormat, constraints: Constraints
) -> tuple[ReplyFormat, Guide | None]:
    """The format with its phases and prefill, or with one guide that suffices."""
    if constraints.must_call:
        return _must_call(model, format, constraints)
    if constraints.answer is not None:
        constraints = replace(constraints, answer=closed_guide(constraints.answer))
    call = _strict_calls(format) if constraints.engine_guides else None
    if constraints.answer is None:
        return (replace(format, phases=Phases(call)), None) if call else (format, None)
    if format.definitions:
        either = _either(format, constraints.answer)
        if either is None:
            prefill = "" if constraints.reasons else _no_reasoning(format)
            return replace(format, phases=Phases(call, constraints.answer), prefill=prefill), None
        constraints = replace(constraints, answer=either)
    if constraints.reasons:
        phases = Phases(answer=constraints.answer)
        return _reasoning_first(model, format, phases, ""), None
    return replace(format, prefill=_no_reasoning(format)), constraints.answer


def closed_guide(guide: Guide) -> Guide:
    """A schema's objects restricted to the properties they name, as TensorRT-LLM's are.

    Clients generate schemas from classes, without `additionalProperties`, and expect these fields.
    """
    if guide.kind != JSON_SCHEMA:
        return guide
    try:
        schema = orjson.loads(guide.text)
    except orjson.JSONDecodeError:
        # The engine reports the error.
        return guide
    return replace(guide, text=orjson.dumps(closed(schema)).decode())


def require_guided_decoding(
    engine_guides: bool, must_call: bool, guided: bool, guide_param: str
) -> None:
    """Refuse constraints that an engine without guided decoding cannot enforce."""
    if engine_guides or not (must_call or guided):
        return
    if must_call:
        raise RequestError(
            "this model's engine has no guided decoding, so it cannot force a function call; "
            "send tool_choice auto",
            param="tool_choice",
            code="unsupported_parameter",
        )
    raise RequestError(
        f"this model's engine has no guided decoding; leave {guide_param} out",
        param=guide_param,
        code="unsupported_parameter",
    )


def _must_call(
    model: EngineModel, format: ReplyFormat, constraints: Constraints
) -> tuple[ReplyFormat, Guide | None]:
    assert format.tools is not None, "tools are refused where a model has no format for them"
    tools = [
        tool
        for tool in format.definitions
        if constraints.must_call_name in (None, tool["function"]["name"])
    ]
    functions = functions_of(tools, strict_only=False)
    call = call_guide(format.tools, functions, one_call=format.one_call)
    format = replace(format, must_call=True)
    if constraints.reasons:
        phases = Phases(call, must_call=True)
        return _reasoning_first(model, format, phases, call.opening), None
    format = replace(format, prefill=_no_reasoning(format) + call.opening)
    if format.one_call or not call.closing:
        return format, Guide(call.kind, call.text)
    return replace(format, phases=Phases(call, must_call=True)), None


def _strict_calls(format: ReplyFormat) -> CallGuide | None:
    """The guide for optional calls, if any function is `strict`."""
    if format.tools is None or not any(
        tool.get("function", tool).get("strict") for tool in format.definitions
    ):
        return None
    functions = functions_of(format.definitions, strict_only=True)
    return call_guide(format.tools, functions, one_call=format.one_call)


def _either(format: ReplyFormat, answer: Guide) -> Guide | None:
    """One guide for either an answer or a call, in formats where only a schema tells which."""
    if format.tools is None or answer.kind not in ("json", JSON_SCHEMA):
        return None
    try:
        schema = orjson.loads(answer.text) if answer.text else ANY_OBJECT
    except orjson.JSONDecodeError:
        # The engine reports the error.
        return None
    functions = functions_of(format.definitions, strict_only=False)
    either = answer_or_call(format.tools, functions, schema)
    return Guide(either.kind, either.text) if either else None


def _reasoning_first(
    model: EngineModel, format: ReplyFormat, phases: Phases, opening: str
) -> ReplyFormat:
    end = tuple(model.tokenizer.encode(END_OF_REASONING + opening))
    return replace(
        format,
        # If the model may skip reasoning, it would also skip the constraint.
        prefill="" if format.starts_inside else BEGIN_OF_REASONING,
        phases=replace(phases, end_of_reasoning=end),
    )


def _no_reasoning(format: ReplyFormat) -> str:
    """The text that ends the reasoning which the template has started."""
    return "\n" + END_OF_REASONING if format.starts_inside else ""
