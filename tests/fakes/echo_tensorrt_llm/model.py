"""Stands in for the C++ `tensorrt_llm` in the real Triton: answers with the prompt's own tokens.

Runs behind the real configuration of that model. The answer begins anew when the prompt is over,
until request_output_len. Every response says on request how many blocks of the cache it reused, as
TensorRT-LLM's do: one for each token of the prompt. `seed` is a token's delay in microseconds. Not
streamed, it comes in one response, filled up with end_id as TensorRT-LLM does. The request id
`report` is answered with how many requests run and how many were stopped.
"""

import threading

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
PADDING = 2


def scalar(request, name, default):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0].item()


def response(names, ids, padding=(), prompt_length=None, reused=None):
    """Only the outputs that were requested: Triton's stub frees others without Python's lock."""
    tensors = [
        pb_utils.Tensor("output_ids", np.array([[[*ids, *padding]]], np.int32)),
        pb_utils.Tensor("sequence_length", np.array([[len(ids)]], np.int32)),
    ]
    if prompt_length is not None:
        tensors.append(pb_utils.Tensor("num_input_tokens", np.array([[prompt_length]], np.int32)))
    if reused is not None:
        tensors.append(pb_utils.Tensor("kv_cache_reused_blocks", np.array([[reused]], np.int32)))
    return pb_utils.InferenceResponse([one for one in tensors if one.name() in names])


class TritonPythonModel:
    def initialize(self, args):
        self._running = {}
        self._stopped = 0

    def execute(self, requests):
        for request in requests:
            sender, names = request.get_response_sender(), request.requested_output_names()
            if request.request_id() == "report":
                sender.send(response(names, [len(self._running), self._stopped]), flags=FINAL)
            elif scalar(request, "stop", False):
                self._stopped += request.request_id() in self._running
                self._running.pop(request.request_id(), threading.Event()).set()
                sender.send(response(names, []), flags=FINAL)
            elif scalar(request, "temperature", 1.0) < 0:
                error = pb_utils.TritonError("temperature is negative")
                sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)
            else:
                self._start(request, sender, names)

    def _start(self, request, sender, names):
        stopped = self._running[request.request_id()] = threading.Event()
        prompt = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()[0].tolist()
        wanted = scalar(request, "request_output_len", 0)
        answer = (prompt * (wanted // len(prompt) + 1))[:wanted]
        counted = len(prompt) if scalar(request, "return_num_input_tokens", False) else None
        if scalar(request, "streaming", False):
            delay = scalar(request, "seed", 0)
            reused = len(prompt) if scalar(request, "return_perf_metrics", False) else None
            arguments = (request.request_id(), sender, names, answer, delay, stopped, reused)
            threading.Thread(target=self._stream, args=arguments).start()
            return
        padding = [scalar(request, "end_id", 0)] * PADDING
        del self._running[request.request_id()]
        sender.send(response(names, answer, padding, counted), flags=FINAL)

    def _stream(self, request_id, sender, names, answer, delay, stopped, reused):
        for number, token in enumerate(answer, start=1):
            if stopped.wait(delay / 1e6):
                sender.send(response(names, []), flags=FINAL)
                return
            if number == len(answer):
                self._running.pop(request_id, None)
            made = response(names, [token], reused=reused)
            sender.send(made, flags=FINAL if number == len(answer) else 0)
