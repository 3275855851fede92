"""Checks shared by the dialects: unsupported parameters, tool names, stop strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from enginix.errors import RequestError
from enginix.gateway.schema.fields import StreamOptions


def refuse(request: BaseModel, impossible: Mapping[str, str]) -> None:
    """Refuse unsupported parameters by name; ignoring them would answer another question.

    `impossible`: field -> what to do instead. Null, false and empty values request nothing.
    """
    for name, instead in impossible.items():
        if getattr(request, name):
            raise unsupported(name, instead)


def unsupported(param: str, instead: str) -> RequestError:
    return RequestError(
        f"{param} is not supported: {instead}", param=param, code="unsupported_parameter"
    )


def check_stream_options(options: StreamOptions | None, stream: bool | None) -> None:
    if options is not None and not stream:
        raise RequestError(
            "stream_options were sent without stream: true; leave them out or stream",
            param="stream_options",
            code="invalid_value",
        )


def counts_asked(options: StreamOptions | None) -> bool:
    return options is not None and options.include_usage and options.continuous_usage_stats


def check_choice(name: str | None, known: Sequence[str], param: str) -> None:
    """Check that the tool to call exists; `param` is its path in the request."""
    if not known:
        raise RequestError(
            "tool_choice requires a call but there are no tools; send tools", param="tool_choice"
        )
    if name is not None and name not in known:
        raise RequestError(
            f"tool_choice names {name!r}; the request's tools are {', '.join(known)}", param=param
        )


def missing(param: str) -> RequestError:
    return RequestError(f"{param} is missing", param=param, code="missing_required_parameter")


def among(
    tools: Sequence[Mapping[str, Any]], names: Sequence[str], param: str
) -> tuple[Mapping[str, Any], ...]:
    """The tools with these names, which must all exist; `param` is their path in the request."""
    known = [tool["function"]["name"] for tool in tools]
    for name in names:
        check_choice(name, known, param)
    return tuple(tool for tool in tools if tool["function"]["name"] in names)


def check_tokens(tokens: Sequence[int], vocabulary: int, where: str) -> None:
    """Check that all ids are valid; `where` is their name in the request."""
    for index, token in enumerate(tokens):
        if not 0 <= token < vocabulary:
            raise RequestError(
                f"{where}[{index}]: {token} is not a token of this model, whose ids end at "
                f"{vocabulary - 1}",
                param=f"{where}[{index}]",
            )


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
