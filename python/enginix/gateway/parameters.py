"""What the dialects' parameters have in common: refusing the impossible, reading stop strings."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from enginix.errors import RequestError
from enginix.gateway.schema.fields import StreamOptions


def refuse(request: BaseModel, impossible: Mapping[str, str]) -> None:
    """Refuse by name what is known and cannot be done; ignoring it would answer another question.

    `impossible`: field -> what to do instead. Null and false ask for nothing.
    """
    for name, instead in impossible.items():
        if getattr(request, name) not in (None, False):
            raise unsupported(name, instead)


def unsupported(param: str, instead: str) -> RequestError:
    return RequestError(
        f"{param} is not possible here: {instead}", param=param, code="unsupported_parameter"
    )


def check_stream_options(options: StreamOptions | None, stream: bool | None) -> None:
    if options is not None and not stream:
        raise RequestError(
            "stream_options were sent without stream: true; leave them out or stream",
            param="stream_options",
            code="invalid_value",
        )


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in strings:
        raise RequestError(
            "stop holds an empty string, which would end every answer before it begins; "
            "leave it out",
            param="stop",
            code="invalid_value",
        )
    return strings
