"""Gives routes and middleware the gateway and their request's record."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Scope

from enginix.gateway.models.record import RequestRecord
from enginix.gateway.models.registry import Models
from enginix.gateway.models.state import Gateway

# The outermost middleware sets both.
RECORD = "enginix.record"
GATEWAY = "enginix.gateway"


def gateway_in(scope: Scope) -> Gateway:
    gateway: Gateway = scope[GATEWAY]
    return gateway


def gateway_of(request: Request) -> Gateway:
    return gateway_in(request.scope)


def record_in(scope: Scope) -> RequestRecord:
    record: RequestRecord = scope[RECORD]
    return record


def record_of(request: Request) -> RequestRecord:
    return record_in(request.scope)


def header_in(scope: Scope, name: bytes) -> str:
    """The request's first header of that name, in lower case; empty without one."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def headers_in(scope: Scope, name: bytes) -> list[str]:
    """All of the request's headers of that name, in lower case."""
    # Starlette's Headers copy the list.
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def models_of(request: Request) -> Models:
    """The models that the request may use: all, or those of its API key."""
    return gateway_of(request).models.of_key(record_of(request).key)


def note_prompt(request: Request, prompt: object) -> None:
    """Keep a prompt for the log, if the operator wants that."""
    if gateway_of(request).settings.log_prompts:
        record_of(request).prompt = prompt
