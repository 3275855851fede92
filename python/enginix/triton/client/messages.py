"""Builds ModelInferRequest bytes."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from tritonclient.grpc import service_pb2

from enginix.errors import RequestError
from enginix.generation.request import Sampling, TokenRequest
from enginix.triton.client.tensor_names import (
    PROMPT_OUTPUTS,
    REUSED,
    STATISTICS,
    TensorNames,
)

# Sampling field -> tensor, Triton's type, struct's letter.
SCALARS = (
    ("temperature", "temperature", "FP32", "f"),
    ("top_k", "runtime_top_k", "INT32", "i"),
    ("top_p", "runtime_top_p", "FP32", "f"),
    ("min_p", "runtime_min_p", "FP32", "f"),
    ("repetition_penalty", "repetition_penalty", "FP32", "f"),
    ("presence_penalty", "presence_penalty", "FP32", "f"),
    ("frequency_penalty", "frequency_penalty", "FP32", "f"),
    ("min_tokens", "min_tokens", "INT32", "i"),
)
# Tensor of each option that is not one scalar.
OTHERS = {
    "seed": "seed",
    "logit_bias": "embedding_bias",
    "guide": "guided_decoding_guide_type",
    "top_logprobs": "num_top_log_probs",
    "prompt_logprobs": "return_prompt_log_probs",
}

# What every request must have, a stop too.
STOP_INPUTS = ("input_ids", "input_lengths", "request_output_len")
ONE = struct.pack("<i", 1)

Tensor = tuple[str, str, tuple[int, ...], bytes]


@lru_cache(maxsize=64)
def supported(tensor_names: TensorNames) -> frozenset[str]:
    """The fields of Sampling, and the kinds of log probabilities, that it has tensors for."""
    tensors = {field: tensor for field, tensor, _, _ in SCALARS} | OTHERS
    return frozenset(field for field, tensor in tensors.items() if tensor_names.input(tensor))


def build_request(
    request: TokenRequest, tensor_names: TensorNames, vocabulary: int | None
) -> bytes:
    """The one message of a stream; `vocabulary` is the width of the logit_bias tensor."""
    common = _common(
        tensor_names,
        request.end_id,
        request.logprobs,
        request.top_logprobs,
        request.prompt_logprobs,
    )
    message = service_pb2.ModelInferRequest(id=request.request_id)
    _add(message, _tensors(request, tensor_names, vocabulary))
    # Two messages in a row are read as one that has the fields and the list items of both.
    serialized: bytes = common + message.SerializeToString()
    return serialized


@lru_cache(maxsize=64)
def _common(
    tensor_names: TensorNames,
    end_id: int | None,
    logprobs: bool,
    top_logprobs: int,
    prompt_logprobs: bool,
) -> bytes:
    """What most requests to a model have in common; nothing in it is as long as a client likes."""
    message = service_pb2.ModelInferRequest(model_name=tensor_names.model)
    _add(message, [_scalar("streaming", "BOOL", "?", True)])
    message.outputs.add(name="output_ids")
    if end_id is not None:
        _add(message, [_scalar("end_id", "INT32", "i", end_id)])
    if logprobs:
        _add(message, [_scalar("return_log_probs", "BOOL", "?", True)])
        message.outputs.add(name="output_log_probs")
    if top_logprobs:
        name = _name(OTHERS["top_logprobs"], "top_logprobs", tensor_names)
        _add(message, [_scalar(name, "INT32", "i", top_logprobs, "top_logprobs")])
        message.outputs.add(name="top_log_prob_ids")
        message.outputs.add(name="top_log_probs")
    if prompt_logprobs:
        name = _name(OTHERS["prompt_logprobs"], "prompt_logprobs", tensor_names)
        _add(message, [_scalar(name, "BOOL", "?", True)])
        for name in PROMPT_OUTPUTS:
            message.outputs.add(name=name)
    if tensor_names.states_reuse:
        _add(message, [_scalar(STATISTICS, "BOOL", "?", True)])
        message.outputs.add(name=REUSED)
    # Without it, a model that ends with an empty response ends unnoticed.
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    serialized: bytes = message.SerializeToString()
    return serialized


def _add(message: Any, tensors: Iterable[Tensor]) -> None:
    for name, datatype, shape, raw in tensors:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(raw)


def build_stop(request_id: str, tensor_names: TensorNames) -> bytes | None:
    """The message that has the model end a running request; None if it cannot be told to."""
    if not request_id or tensor_names.input("stop") is None:
        return None
    message = service_pb2.ModelInferRequest(model_name=tensor_names.model, id=request_id)
    _add(message, ((name, "INT32", (1, 1), ONE) for name in STOP_INPUTS))
    _add(message, [_scalar("stop", "BOOL", "?", True)])
    serialized: bytes = message.SerializeToString()
    return serialized


def _tensors(
    request: TokenRequest, tensor_names: TensorNames, vocabulary: int | None
) -> Iterator[Tensor]:
    count = len(request.prompt_ids)
    yield "input_ids", "INT32", (1, count), _packed_ids(request.prompt_ids)
    yield _scalar("input_lengths", "INT32", "i", count)
    yield _scalar("request_output_len", "INT32", "i", request.max_tokens)
    if request.stop_ids:
        yield _stop_words(request.stop_ids)
    yield from _sampling(request.sampling, tensor_names, vocabulary)


def _sampling(
    sampling: Sampling, tensor_names: TensorNames, vocabulary: int | None
) -> Iterator[Tensor]:
    for field, tensor, datatype, letter in SCALARS:
        value = getattr(sampling, field)
        if value is not None:
            yield _scalar(_name(tensor, field, tensor_names), datatype, letter, value, field)
    if sampling.seed is not None:
        # OpenAI's seed may be negative; the tensor is unsigned.
        seed = sampling.seed & 0xFFFF_FFFF_FFFF_FFFF
        yield _scalar(_name("seed", "seed", tensor_names), "UINT64", "Q", seed)
    if sampling.logit_bias:
        yield _bias(sampling.logit_bias.items(), tensor_names, vocabulary)
    if sampling.guide is not None:
        kind = _name(OTHERS["guide"], "guide", tensor_names)
        yield kind, "BYTES", (1, 1), _text(sampling.guide.kind)
        yield "guided_decoding_guide", "BYTES", (1, 1), _text(sampling.guide.text)


def _name(tensor: str, field: str, tensor_names: TensorNames) -> str:
    name = tensor_names.input(tensor)
    if name is None:
        raise RequestError(
            f"model {tensor_names.model!r} does not support {field}: it has no input {tensor!r}; "
            f"leave {field} out",
            param=field,
        )
    return name


def _scalar(name: str, datatype: str, letter: str, value: Any, field: str = "") -> Tensor:
    return name, datatype, (1, 1), _pack(field or name, letter, (value,))


def _packed_ids(ids: Sequence[int]) -> bytes:
    # An array's bytes are the tensor already; packing 100,000 numbers would take milliseconds.
    if isinstance(ids, array) and ids.typecode == "i" and sys.byteorder == "little":
        return ids.tobytes()
    return _pack("prompt_ids", "i", ids)


def _pack(field: str, letter: str, values: Sequence[Any]) -> bytes:
    try:
        return struct.pack(f"<{len(values)}{letter}", *values)
    except (struct.error, OverflowError) as error:
        raise RequestError(f"{field} is out of range: {error}", param=field) from error


def _stop_words(ids: Sequence[int]) -> Tensor:
    # Row one: the ids of all stop words; row two: the end offset of each.
    rows = (*ids, *range(1, len(ids) + 1))
    return "stop_words_list", "INT32", (1, 2, len(ids)), _pack("stop_ids", "i", rows)


def _bias(
    biases: Iterable[tuple[int, float]], tensor_names: TensorNames, vocabulary: int | None
) -> Tensor:
    name = _name(OTHERS["logit_bias"], "logit_bias", tensor_names)
    if vocabulary is None:
        raise RequestError(
            f"model {tensor_names.model!r} does not support logit_bias: unknown vocabulary size",
            param="logit_bias",
        )
    row = [0.0] * vocabulary
    for token, bias in biases:
        if not 0 <= token < vocabulary:
            raise RequestError(
                f"logit_bias names token {token}; expected 0 to {vocabulary - 1}",
                param="logit_bias",
            )
        row[token] = bias
    return name, "FP32", (1, vocabulary), _pack("logit_bias", "f", row)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded
