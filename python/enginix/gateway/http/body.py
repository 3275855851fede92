"""Reads a request's body: bounded, JSON, and of the shape its schema says, or a RequestError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from enginix.errors import BodyTooLarge, BodyTooSlow, NotDeclaredJson, RequestError
from enginix.gateway.http.nesting import DEEPEST, check_nesting, too_deep
from enginix.gateway.http.scope import gateway_of, header_in, record_of
from enginix.gateway.http.writing import cycle_of
from enginix.gateway.schema.fields import MAX_INT32

# Larger bodies are parsed beside the event loop, so that running streams go on.
LARGE_BODY = 128 << 10
DOCUMENT = "enginix.document"
# How many times the limit is read of a body that is too large, so that its client gets the error.
DISCARD_FACTOR = 8

Schema = TypeVar("Schema", bound=BaseModel)
Result = TypeVar("Result")

# pydantic's name of a mistake -> what was expected.
EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}


def require_json(request: Request) -> None:
    """Raises NotDeclaredJson. A page of another origin cannot declare JSON without a preflight."""
    declared = header_in(request.scope, b"content-type")
    kind = declared.partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind[-5:] == "+json"
    ):
        raise NotDeclaredJson(declared)


async def read(request: Request, schema: type[Schema]) -> Schema:
    """The body as `schema`; raises RequestError naming the path of what does not fit."""
    document = await read_document(request)
    return await beside_loop(request, checked, document, schema)


async def read_document(request: Request) -> Any:
    """The body's JSON, decoded once for all callers; do not modify it. Raises RequestError."""
    if DOCUMENT not in request.scope:
        body = await _received(request)
        large = len(body) > LARGE_BODY
        try:
            document = await asyncio.to_thread(decoded, body) if large else decoded(body)
            _note_priority(request, document)
        except RequestError as error:
            document = error
        request.scope[DOCUMENT] = (document, large)
        if (trace := record_of(request).trace) is not None:
            trace.asked(document)
    document, _ = request.scope[DOCUMENT]
    if isinstance(document, RequestError):
        raise document
    return document


def _note_priority(request: Request, document: Any) -> None:
    """Keep the priority that a body asks for, in any dialect; refuse one that its key has not."""
    asked = document.get("priority") if isinstance(document, dict) else None
    if asked is None:
        return
    whole = type(asked) is int or (isinstance(asked, float) and asked.is_integer())
    if not whole or abs(asked) > MAX_INT32:
        raise RequestError(
            f"priority: expected an integer of 32 bits, got {_found(asked)}",
            param="priority",
            code="invalid_type",
        )
    asked = int(asked)
    record = record_of(request)
    if record.key is not None and asked < record.key.priority:
        raise RequestError(
            f"priority: requests of key {record.key.name!r} may have {record.key.priority} or "
            f"more, which is later, got {asked}",
            param="priority",
            code="invalid_value",
        )
    record.priority = asked


async def beside_loop(
    request: Request, work: Callable[..., Result], *args: Any, **options: Any
) -> Result:
    """The result of work on the whole body, done in a thread if that is large: streams go on."""
    _, large = request.scope[DOCUMENT]
    if large:
        return await asyncio.to_thread(work, *args, **options)
    return work(*args, **options)


def forget_request(scope: Scope) -> None:
    """An open stream keeps no copy of its request, whose headers alone may take kilobytes."""
    scope.pop(DOCUMENT, None)
    scope["headers"] = ()


async def _received(request: Request) -> bytes:
    encoding = header_in(request.scope, b"content-encoding").lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            f"the body is encoded as {encoding[:40]!r}; send it as it is",
            code="unsupported_encoding",
        )
    limits = gateway_of(request).settings.request
    cycle = cycle_of(request.scope)
    if cycle is not None and not cycle.more_body:
        # All of it is here already.
        return await _bounded(request, limits.body_bytes)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _bounded(request, limits.body_bytes)
    except TimeoutError:
        raise BodyTooSlow(limits.body_seconds) from None


async def _bounded(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    if header_in(request.scope, b"expect") and _announced(request) > limit:
        # The client asks before it sends.
        raise BodyTooLarge(limit)
    size = 0
    more = True
    while more and size <= DISCARD_FACTOR * limit:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            # Most clients read nothing before they have sent everything: a connection that closes
            # early looks to them like a broken network.
            parts.clear()
    if size > limit:
        raise BodyTooLarge(limit)
    return b"".join(parts)


def decoded(body: bytes) -> Any:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The decoder has its own nesting limit, far above ours.
        if "depth" in str(error):
            raise too_deep() from None
        raise RequestError(f"the body is not JSON: {error}", code="invalid_json") from None
    # Most are not even large enough for it.
    if body.count(b"{") + body.count(b"[") > DEEPEST:
        check_nesting(data)
    return data


def checked(data: Any, schema: type[Schema], where: str = "") -> Schema:
    """`data` as `schema`; `where` is its path in the body."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise _mistake(error.errors(include_url=False), data, where) from None


def parse_part(part: BaseModel, schema: type[Schema], where: str) -> Schema:
    """A part of the body, of any fields, as the schema of its type; `where` is its path."""
    return checked(part.model_extra or {}, schema, where)


def _announced(request: Request) -> int:
    length = header_in(request.scope, b"content-length")
    return int(length) if length.isdigit() and len(length) < 20 else 0


def _mistake(errors: Sequence[ErrorDetails], data: object, where: str = "") -> RequestError:
    """One sentence about the deepest mistake: its branch of a union matched best."""
    paths = [_path(error, data) for error in errors]
    deepest = max(paths, key=len)
    here = [error for error, path in zip(errors, paths, strict=True) if path == deepest]
    path = f"{where}.{_spell(deepest)}".strip(".") if deepest else where
    expected = " or ".join(dict.fromkeys(_expected(error) for error in here))
    if all(error["type"] == "missing" for error in here):
        return RequestError(f"{path} is missing", param=path, code="missing_required_parameter")
    found = _found(here[0]["input"])
    return RequestError(
        f"{path or 'the body'}: expected {expected}, got {found}",
        param=path or None,
        code="invalid_type" if here[0]["type"] in EXPECTED else "invalid_value",
    )


def _path(error: ErrorDetails, data: Any) -> tuple[int | str, ...]:
    """The steps that lead through `data`; the others are pydantic's names for union branches."""
    location = error["loc"]
    path: list[int | str] = []
    for place, step in enumerate(location):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            # The missing field is the last step of the path.
            if error["type"] != "missing" or place + 1 < len(location):
                continue
        path.append(step)
    return tuple(path)


def _spell(path: Sequence[int | str]) -> str:
    """messages[0].content"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _expected(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "literal_error":
            return str(context["expected"])
        case "greater_than_equal":
            return f"at least {_number(context['ge'])}"
        case "greater_than":
            return f"more than {_number(context['gt'])}"
        case "less_than_equal":
            return f"at most {_number(context['le'])}"
        case "too_short":
            return f"at least {context['min_length']} of them"
        case "string_too_short":
            least = context["min_length"]
            return f"at least {least} character{'s' if least > 1 else ''}"
        case "value_error":
            return str(context["error"])
    return EXPECTED.get(kind) or error["msg"]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _found(value: object) -> str:
    match value:
        case None | bool() | int() | float():
            return orjson.dumps(value).decode()
        case str():
            return repr(value if len(value) <= 40 else value[:40] + "…")
        case list():
            return "a list" if value else "an empty list"
    return "an object"
