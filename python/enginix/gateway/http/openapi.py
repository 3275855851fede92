"""Documents in /openapi.json the bodies of routes that read them without FastAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from enginix.gateway.http.access import ROUTES, Need

REF = "#/components/schemas/{model}"
KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def described(schema: type[BaseModel], *, streams: bool = False) -> dict[str, Any]:
    """Arguments for a route decorator: the body's schema and the response types."""
    contents: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        contents["text/event-stream"] = {"schema": {"type": "string"}}
    body = {"$ref": REF.format(model=schema.__name__)}
    return {
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "The answer", "content": contents},
                "default": {
                    "description": "What went wrong, and what to do",
                    "content": {
                        "application/json": {"schema": {"$ref": REF.format(model="Error")}}
                    },
                },
            },
        }
    }


def _add_needs(document: dict[str, Any], *, keyless: bool) -> None:
    """What each route needs, from the table that holds requests to it."""
    needs = {(method, documented(path)): need for (method, path), need in ROUTES.items()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            need = operation["x-needs"] = needs[method.upper(), path].value
            if not keyless and need != Need.OPEN:
                operation["security"] = [{name: []} for name in KEYS]
    if not keyless:
        document["components"]["securitySchemes"] = KEYS


def documented(path: str) -> str:
    """A route's path as /openapi.json has it, without the kinds of its parameters."""
    return path.replace(":path}", "}")


def add_schemas(app: FastAPI, schemas: list[type[BaseModel]], *, keyless: bool) -> None:
    """Make `app.openapi()` define the bodies that routes refer to, and say what routes need.

    `keyless`: whether requests to this application need no API key.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        _, defined = models_json_schema(
            [(schema, "validation") for schema in schemas], ref_template=REF
        )
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(defined["$defs"], Error=ERROR)
        _add_needs(document, keyless=keyless)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
