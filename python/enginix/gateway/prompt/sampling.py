"""How the next token is chosen: the client's value, else the model's default, else OpenAI's."""

from __future__ import annotations

import secrets
from dataclasses import replace

from enginix.errors import RequestError
from enginix.gateway.prompt.defaults import SamplingDefaults
from enginix.gateway.schema.fields import SamplingFields
from enginix.generation.request import Guide, Sampling

# Options that not every engine supports -> their parameters.
OPTIONAL = {
    "min_p": "min_p",
    "seed": "seed",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "min_tokens": "min_tokens",
    "logit_bias": "logit_bias",
    "guide": "response_format",
}


def sampling_of(
    fields: SamplingFields, defaults: SamplingDefaults, guide: Guide | None = None
) -> Sampling:
    temperature = _chosen(fields.temperature, defaults.temperature)
    top_p = _chosen(fields.top_p, defaults.top_p)
    # Temperature 0 divides by zero in some engines; top_k 1 gives the same result.
    greedy = not (temperature and top_p)
    repetition_penalty = _chosen(fields.repetition_penalty, defaults.repetition_penalty)
    # Values without effect are not sent, so that models without the option still work.
    return Sampling(
        temperature=None if greedy else temperature,
        top_p=None if greedy else top_p,
        top_k=1 if greedy else max(0, int(_chosen(fields.top_k, defaults.top_k))),
        min_p=None if greedy else _chosen(fields.min_p, defaults.min_p) or None,
        seed=None if greedy else fields.seed,
        repetition_penalty=None if repetition_penalty == 1 else repetition_penalty,
        presence_penalty=fields.presence_penalty or None,
        frequency_penalty=fields.frequency_penalty or None,
        min_tokens=fields.min_tokens or None,
        logit_bias=logit_bias(fields.logit_bias),
        guide=guide,
    )


def check_supported(sampling: Sampling, supported: frozenset[str]) -> None:
    """Refuse by name what this model does not support."""
    for name, param in OPTIONAL.items():
        if getattr(sampling, name) is not None and name not in supported:
            raise RequestError(
                f"this model's engine does not support {param}; leave it out",
                param=param,
                code="unsupported_parameter",
            )


def for_choice(sampling: Sampling, index: int, supported: frozenset[str]) -> Sampling:
    """Give every choice its own seed; engines otherwise start from the same one."""
    if "seed" not in supported or sampling.top_k == 1:
        return sampling
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed + index
    return replace(sampling, seed=seed)


def logit_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    if not bias:
        return None
    for token, value in bias.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise RequestError(
                f"logit_bias: expected token ids as keys, got {token[:40]!r}", param="logit_bias"
            )
        if not -100 <= value <= 100:
            raise RequestError(
                f"logit_bias.{token}: expected a number from -100 to 100, got {value:g}",
                param=f"logit_bias.{token}",
            )
    return {int(token): value for token, value in bias.items()}


def _chosen(requested: float | None, default: float) -> float:
    return default if requested is None else requested
