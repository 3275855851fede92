"""Converts a Triton request with TensorRT-LLM's tensors to a request of the token engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from engine_request import Request
from llama_cpp import LlamaError
from sampling import Sampling

# Sampling field -> tensor.
SCALARS = {
    "temperature": "temperature",
    "top_k": "runtime_top_k",
    "top_p": "runtime_top_p",
    "min_p": "runtime_min_p",
    "seed": "seed",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "min_tokens": "min_tokens",
    "logprobs": "return_log_probs",
    "top_logprobs": "num_top_log_probs",
}
GUIDE = "guided_decoding_guide"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to send the answer."""

    streaming: bool
    with_prompt: bool
    logprobs: bool
    input_count: bool
    output_count: bool
    statistics: bool
    outputs: frozenset[str]


def scalar(request: Any, name: str, default: Any = None) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    values = tensor.as_numpy()
    if values.size != 1:
        raise LlamaError(f"{name} has {values.size} values, expected 1")
    value = values.reshape(-1)[0]
    return value if isinstance(value, bytes) else value.item()


def read_asked(request: Any, *, exclude_prompt: bool) -> Asked:
    streaming = bool(scalar(request, "streaming", False))
    excluded = bool(scalar(request, "exclude_input_in_output", exclude_prompt))
    return Asked(
        streaming=streaming,
        with_prompt=not excluded and not streaming,
        logprobs=bool(scalar(request, "return_log_probs", False)),
        input_count=bool(scalar(request, "return_num_input_tokens", False)),
        output_count=bool(scalar(request, "return_num_output_tokens", False)),
        statistics=bool(scalar(request, "return_perf_metrics", False)),
        outputs=frozenset(request.requested_output_names()),
    )


def read_request(request: Any) -> Request:
    """Raises LlamaError, which names the tensor and what is wrong with it."""
    ids = _row(request, "input_ids")
    if ids is None:
        raise LlamaError("input_ids is missing; this model takes token ids")
    length = scalar(request, "input_lengths", len(ids))
    if not 0 <= length <= len(ids):
        raise LlamaError(f"input_lengths is {length}, but input_ids has {len(ids)} tokens")
    _refuse_beams(request)
    return Request(
        prompt_ids=ids[:length].tolist(),
        max_tokens=scalar(request, "request_output_len"),
        stop_words=_stop_words(request),
        sampling=_sampling(request),
        score_prompt=bool(scalar(request, "return_prompt_log_probs", False)),
    )


def _refuse_beams(request: Any) -> None:
    for name in ("beam_width", "num_return_sequences"):
        if (found := scalar(request, name, 1)) != 1:
            raise LlamaError(f"{name} is {found}; this engine gives one answer to a request")


def _sampling(request: Any) -> Sampling:
    given = {field: scalar(request, tensor) for field, tensor in SCALARS.items()}
    bias = _row(request, "embedding_bias")
    return Sampling(
        bias=bias if bias is not None and bias.size else None,
        bad_words=_words(request, "bad_words_list"),
        guide=_guide(request),
        **{field: value for field, value in given.items() if value is not None},
    )


def _guide(request: Any) -> tuple[str, str] | None:
    kind, text = _text(request, "guided_decoding_guide_type"), _text(request, GUIDE)
    if kind is None:
        if text is not None:
            raise LlamaError(f"{GUIDE} is there without a guided_decoding_guide_type")
        return None
    if text is None and kind != "json":
        raise LlamaError(f"a guide of the type {kind} needs a {GUIDE}")
    return kind, text or ""


def _text(request: Any, name: str) -> str | None:
    found = scalar(request, name)
    if found is None:
        return None
    try:
        return str(found.decode())
    except UnicodeDecodeError as error:
        raise LlamaError(f"{name} is not UTF-8: {error}") from error


def _stop_words(request: Any) -> list[list[int]]:
    words = _words(request, "stop_words_list")
    end_id = scalar(request, "end_id", -1)
    return [*words, [end_id]] if end_id >= 0 else words


def _words(request: Any, name: str) -> list[list[int]]:
    """The words of a tensor: row 0 has their ids, row 1 the end of each, padded with -1."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return []
    rows = tensor.as_numpy()
    if rows.shape[:-1] != (1, 2):
        raise LlamaError(f"{name} has the shape {list(rows.shape)}, expected [1, 2, N]")
    ids, ends = rows[0].tolist()
    ends = [end for end in ends if end > 0]
    if ends != sorted(ends) or any(end > len(ids) for end in ends):
        raise LlamaError(f"{name}: row 1 says words end at {ends}, row 0 has {len(ids)} ids")
    return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def _row(request: Any, name: str) -> np.ndarray | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)
