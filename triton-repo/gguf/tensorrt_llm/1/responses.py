"""Turns the engine's outputs into Triton responses, and sends them from threads of their own.

Handing a response to Triton takes 130 us, most of it waiting: several threads wait side by side,
and decoding does not wait at all. One request's responses all go through one thread, in order.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import cycle
from queue import SimpleQueue
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from request_tensors import Asked
from stop_words import Sampled
from token_engine import Output

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
Queue = SimpleQueue["tuple[Reply, Output] | None"]


class Senders:
    def __init__(self, count: int) -> None:
        self._queues: list[Queue] = [SimpleQueue() for _ in range(count)]
        self._next = cycle(self._queues)
        self._threads = [
            threading.Thread(target=_send_all, args=(queue,), name="sender", daemon=True)
            for queue in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def queue(self) -> Queue:
        """The thread that will send one request's responses."""
        return next(self._next)

    def close(self) -> None:
        """Returns when everything has been sent."""
        for queue in self._queues:
            queue.put(None)
        for thread in self._threads:
            thread.join()


def _send_all(queue: Queue) -> None:
    while (item := queue.get()) is not None:
        reply, output = item
        try:
            reply.send(output)
        except Exception as error:
            # The other requests of this thread must go on.
            pb_utils.Logger.log_error(f"a response could not be sent: {error}")


class Reply:
    """The answer to one request. Not streamed, it is one response with everything."""

    def __init__(
        self, sender: Any, request_id: str, asked: Asked, prompt_ids: Sequence[int]
    ) -> None:
        self.request_id = request_id
        self._sender = sender
        self._asked = asked
        self._prompt_ids = prompt_ids
        self._collected: list[Sampled] = []
        self._cumulative = 0.0
        self._ended = False
        self._ending = threading.Lock()

    def is_cancelled(self) -> bool:
        # After the last response Triton has freed what this question is about.
        with self._ending:
            return not self._ended and self._sender.is_cancelled()

    def send(self, output: Output) -> None:
        if output.error:
            with self._ending:
                self._ended = True
                send_error(self._sender, output.error)
        elif self._asked.streaming:
            self._send(output.tokens, [], final=output.final)
        else:
            self._collected += output.tokens
            if output.final:
                prompt = self._prompt_ids if self._asked.with_prompt else []
                self._send(self._collected, prompt, final=True)

    def _send(self, tokens: Sequence[Sampled], prompt: Sequence[int], *, final: bool) -> None:
        response = pb_utils.InferenceResponse(self._tensors(tokens, prompt))
        if not final:
            self._sender.send(response)
            return
        with self._ending:
            self._ended = True
            self._sender.send(response, flags=FINAL)

    def _tensors(self, tokens: Sequence[Sampled], prompt: Sequence[int]) -> list[Any]:
        ids = [*prompt, *(sampled.token for sampled in tokens)]
        tensors = [_tensor("output_ids", [[ids]], np.int32)]
        outputs = self._asked.outputs
        if "sequence_length" in outputs:
            tensors.append(_tensor("sequence_length", [[len(ids)]], np.int32))
        if self._asked.logprobs:
            logprobs = [sampled.logprob for sampled in tokens]
            self._cumulative += sum(logprobs)
            tensors.append(_tensor("output_log_probs", [[logprobs]], np.float32))
            tensors.append(_tensor("cum_log_probs", [[self._cumulative]], np.float32))
        return tensors


def send_error(sender: Any, text: str) -> None:
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(text)), flags=FINAL)


def _tensor(name: str, values: Any, kind: type) -> Any:
    return pb_utils.Tensor(name, np.array(values, kind))
