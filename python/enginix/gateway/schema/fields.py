"""Building blocks of every request schema: strict types, bounds, and unknown fields."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class Schema(BaseModel):
    """Unknown fields are ignored, as OpenAI does; known ones must have their type."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


Value = TypeVar("Value")


def _one_by_one(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    if not isinstance(value, dict):
        return validated(value)
    return {name: validated({name: each})[name] for name, each in value.items()}


# Both end at the first mistake: each takes a kilobyte or two, and a body has room for millions.
Items = Annotated[list[Value], Field(fail_fast=True)]
Entries = Annotated[dict[str, Value], WrapValidator(_one_by_one)]

# The range of an engine's tensors.
MAX_INT32 = 2**31 - 1


def _as_integer(value: Any) -> Any:
    # JavaScript and Lua clients write 100.0 for 100.
    if not (isinstance(value, float) and value.is_integer()):
        return value
    # Some write 1e300 for no limit; JSON output allows 64 bits.
    return int(value) if abs(value) < 2**63 else (2**63 - 1) * (1 if value > 0 else -1)


Integer = Annotated[int, BeforeValidator(_as_integer)]
Positive = Annotated[Integer, Field(ge=1)]
NotNegative = Annotated[Integer, Field(ge=0, le=MAX_INT32)]
Count = Annotated[Integer, Field(ge=1, le=MAX_INT32)]
Token = NotNegative
TopK = Annotated[Integer, Field(ge=-1, le=MAX_INT32)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


Priority = Annotated[Integer, Field(ge=-MAX_INT32, le=MAX_INT32)]
"""Of the request among those that wait, as in vLLM: lower is sooner."""


def only_known(types: frozenset[str]) -> BeforeValidator:
    """Keep only the type of a part of any other type: ignored parts are not validated."""

    def bare(part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        return {"type": kind} if isinstance(kind, str) and kind not in types else part

    return BeforeValidator(bare)


class StreamOptions(Schema):
    include_usage: bool = False
    continuous_usage_stats: bool = False
    """vLLM's: usage so far in every chunk."""


class SamplingFields(Schema):
    """How the next token is chosen: OpenAI's fields and local servers' common extensions."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    top_k: TopK | None = None
    min_p: Fraction | None = None
    seed: Integer | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Entries[float] | None = None
    min_tokens: NotNegative | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Items[Token] | None = None
