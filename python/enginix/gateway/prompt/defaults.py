"""A model's sampling defaults, as its makers recommend them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enginix.errors import engine_damaged
from enginix.hub_files import read_object

FILE_NAME = "generation_config.json"


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """OpenAI's defaults, unless generation_config.json overrides them."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int | None = None
    """The longest answer; None allows the whole context."""


def read_sampling_defaults(engine: Path) -> SamplingDefaults:
    path = engine / FILE_NAME
    try:
        return _defaults(read_object(path, engine_damaged) or {})
    except (ValueError, TypeError, OverflowError) as error:
        raise engine_damaged(f"{path}: {error}") from error


def _defaults(data: dict[str, object]) -> SamplingDefaults:
    plain = SamplingDefaults()

    def number(name: str, default: float) -> float:
        value = data.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}: expected a number, got {value!r}")
        return value

    longest = max(0, int(number("max_new_tokens", 0))) or None
    if data.get("do_sample") is False:
        return SamplingDefaults(temperature=0.0, max_new_tokens=longest)
    return SamplingDefaults(
        temperature=number("temperature", plain.temperature),
        top_p=number("top_p", plain.top_p),
        top_k=int(number("top_k", plain.top_k)),
        min_p=number("min_p", plain.min_p),
        repetition_penalty=number("repetition_penalty", plain.repetition_penalty),
        max_new_tokens=longest,
    )
