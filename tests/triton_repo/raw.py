"""Sends tensors as they are, also those that TritonClient would never send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import np_to_triton_dtype

SCALARS = {
    "temperature": np.float32,
    "runtime_top_p": np.float32,
    "seed": np.uint64,
    "return_log_probs": np.bool_,
    "return_num_input_tokens": np.bool_,
    "return_num_output_tokens": np.bool_,
    "return_perf_metrics": np.bool_,
    "return_prompt_log_probs": np.bool_,
    "exclude_input_in_output": np.bool_,
    "streaming": np.bool_,
    "stop": np.bool_,
}


@dataclass(frozen=True)
class Response:
    tensors: Mapping[str, Any]
    final: bool


def prompt(ids: list[int], max_tokens: int, **scalars: Any) -> dict[str, np.ndarray]:
    """The tensors of a request; every option is a scalar."""
    tensors = {
        "input_ids": np.array([ids], np.int32),
        "input_lengths": np.array([[len(ids)]], np.int32),
        "request_output_len": np.array([[max_tokens]], np.int32),
    }
    options = {
        name: np.array([[value]], SCALARS.get(name, np.int32)) for name, value in scalars.items()
    }
    return tensors | options


def word_list(*words: list[int]) -> np.ndarray:
    ids = [token for word in words for token in word]
    ends = np.cumsum([len(word) for word in words]).tolist()
    return np.array([[ids, ends + [-1] * (len(ids) - len(ends))]], np.int32)


async def send(
    address: str, tensors: Mapping[str, np.ndarray], *, request_id: str = ""
) -> list[Response]:
    """All responses; an error that comes in place of one is raised."""
    inputs = []
    for name, value in tensors.items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)

    async def requests() -> Any:
        yield {"model_name": "tensorrt_llm", "inputs": inputs, "request_id": request_id}

    found = []
    async with triton.InferenceServerClient(address) as client:
        async for result, error in client.stream_infer(requests()):
            if error:
                raise error
            response = result.get_response()
            names = [output.name for output in response.outputs]
            found.append(
                Response(
                    tensors={name: result.as_numpy(name).tolist() for name in names},
                    final=response.parameters["triton_final_response"].bool_param,
                )
            )
    return found
