"""Documents in /openapi.json the bodies of routes that read them without FastAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"
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


def add_schemas(app: FastAPI, schemas: list[type[BaseModel]]) -> None:
    """Make `app.openapi()` define the bodies that routes refer to."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        _, defined = models_json_schema(
            [(schema, "validation") for schema in schemas], ref_template=REF
        )
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(defined["$defs"], Error=ERROR)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
