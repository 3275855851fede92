"""Turns the engine's outputs into Triton responses, and sends them from separate threads.

Handing a response to Triton takes 130 us, most of it waiting: several threads wait side by side,
and decoding does not wait at all. One request's responses all go through one thread, in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from queue import SimpleQueue
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from engine_request import Generation, Output
from request_tensors import Asked
from stop_words import Sampled
from whole_characters import WholeCharacters

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
OUTPUT_TYPES = {
    "output_ids": np.int32,
    "sequence_length": np.int32,
    "output_log_probs": np.float32,
    "cum_log_probs": np.float32,
    "top_log_prob_ids": np.int32,
    "top_log_probs": np.float32,
    "prompt_log_probs": np.float32,
    "prompt_top_log_prob_ids": np.int32,
    "prompt_top_log_probs": np.float32,
    "num_input_tokens": np.int32,
    "num_output_tokens": np.int32,
    "kv_cache_reused_blocks": np.int32,
    "text_ids": np.int32,
    "text_context_ids": np.int32,
}

Queue = SimpleQueue["tuple[Reply, Output] | None"]


class Senders:
    """`count` threads; each calls `sent` after a response that was not a reply's last one."""

    def __init__(self, count: int, sent: Callable[[Reply], None]) -> None:
        self._senders = [Sender(sent) for _ in range(count)]
        self._next = cycle(self._senders)

    def queue(self) -> Queue:
        """The thread that sends one request's responses."""
        return next(self._next).queue

    def stuck(self, now: float) -> float:
        """How many seconds the slowest pending send has taken; 0 if none is pending."""
        return max(sender.sending(now) for sender in self._senders)

    def close(self) -> None:
        """Return when everything has been sent."""
        for sender in self._senders:
            sender.queue.put(None)
        for sender in self._senders:
            sender.thread.join()


class Sender:
    """One thread, and when its pending send started."""

    def __init__(self, sent: Callable[[Reply], None]) -> None:
        self.queue: Queue = SimpleQueue()
        self._sent = sent
        self._since: float | None = None
        self.thread = threading.Thread(target=self._send_all, name="sender", daemon=True)
        self.thread.start()

    def sending(self, now: float) -> float:
        since = self._since
        return 0.0 if since is None else now - since

    def _send_all(self) -> None:
        while (item := self.queue.get()) is not None:
            reply, output = item
            self._since = time.monotonic()
            try:
                reply.send(output)
                if not output.final:
                    self._sent(reply)
            except Exception as error:
                # The thread's other requests must continue, and this one must end.
                pb_utils.Logger.log_error(f"a response could not be sent: {error!r}")
                reply.abandon(f"the answer could not be sent: {error!r}")
            self._since = None


class Reply:
    """The answer to one request: a stream, or one response with everything."""

    def __init__(
        self,
        sender: Any,
        request_id: str,
        asked: Asked,
        prompt_ids: Sequence[int],
        spell: Callable[[int], bytes],
    ) -> None:
        self.request_id = request_id
        self.generation: Generation | None = None
        """Set before it can have an output; None when the answer has ended."""
        self.asked_at = self.sent_at = time.monotonic()
        """When Triton was last asked whether the client has left, and last given a response."""
        # None when the answer has ended: what is left of it when the interpreter ends must not
        # hold memory that Triton's stub shares with Triton.
        self._sender: Any = sender
        self._asked = asked
        self._prompt_ids = prompt_ids
        self._text = WholeCharacters(spell)
        self._collected: list[Sampled] = []
        self._cumulative = 0.0
        self._is_wanted = True
        self._has_begun = False
        self._ending = threading.Lock()

    def is_cancelled(self) -> bool:
        self.asked_at = time.monotonic()
        # After the last response Triton has freed the object that this would query.
        with self._ending:
            if self._sender is not None and self._sender.is_cancelled():
                self._is_wanted = False
        return not self._is_wanted

    def send(self, output: Output) -> None:
        if output.error:
            self.abandon(output.error)
        elif self._asked.streaming:
            # Unsent output of a client that has left would only delay others.
            if self._is_wanted or output.final:
                self._send(output.tokens, [], final=output.final)
        else:
            self._collected += output.tokens
            if output.final:
                prompt = self._prompt_ids if self._asked.with_prompt else []
                self._send(self._collected, prompt, final=True)

    def abandon(self, error: str) -> None:
        """End the answer with an error, unless it has ended."""
        with self._ending:
            self._is_wanted = False
            if (sender := self._end()) is not None:
                send_error(sender, error)

    def _send(self, tokens: Sequence[Sampled], prompt: Sequence[int], *, final: bool) -> None:
        response = pb_utils.InferenceResponse(self._tensors(tokens, prompt, final))
        self._has_begun = True
        if not final:
            self._sender.send(response)
            return
        with self._ending:
            if (sender := self._end()) is not None:
                sender.send(response, flags=FINAL)

    def _end(self) -> Any:
        """The sender, for the last response; None if that has been sent."""
        sender, self._sender = self._sender, None
        self.generation = None
        return sender

    def _tensors(self, tokens: Sequence[Sampled], prompt: Sequence[int], final: bool) -> list[Any]:
        values = self._values(tokens, prompt, final)
        # Only what was requested: Triton's stub drops the rest while Python may be running
        # elsewhere, which is a crash with Python 3.12 and luck with 3.11.
        return [
            pb_utils.Tensor(name, np.array(value, OUTPUT_TYPES[name]))
            for name, value in values
            if name in self._asked.outputs
        ]

    def _values(
        self, tokens: Sequence[Sampled], prompt: Sequence[int], final: bool
    ) -> Iterator[tuple[str, Any]]:
        asked = self._asked
        ids = [*prompt, *(sampled.token for sampled in tokens)]
        yield "output_ids", [[ids]]
        yield "sequence_length", [[len(ids)]]
        if "text_ids" in asked.outputs:
            part = self._text.feed(ids, final=final)
            yield "text_ids", [[part.ids]]
            yield "text_context_ids", [part.context_ids]
        if asked.logprobs:
            logprobs = [sampled.logprob or 0.0 for sampled in tokens]
            self._cumulative += sum(logprobs)
            yield "output_log_probs", [[logprobs]]
            yield "cum_log_probs", [[self._cumulative]]
            top = [each for sampled in tokens for each in sampled.top]
            yield "top_log_prob_ids", [[[token for token, _ in top]]]
            yield "top_log_probs", [[[logprob for _, logprob in top]]]
        if self.generation is not None and self.generation.scores and not self._has_begun:
            scored = self.generation.scores.tokens
            top = [each for sampled in scored for each in sampled.top]
            yield "prompt_log_probs", [[[sampled.logprob for sampled in scored]]]
            yield "prompt_top_log_prob_ids", [[[token for token, _ in top]]]
            yield "prompt_top_log_probs", [[[logprob for _, logprob in top]]]
        if asked.input_count:
            yield "num_input_tokens", [[len(self._prompt_ids)]]
        if asked.output_count:
            yield "num_output_tokens", [[len(tokens)]]
        if asked.statistics and self.generation is not None and not self._has_begun:
            yield "kv_cache_reused_blocks", [[self.generation.reused]]


def send_error(sender: Any, text: str) -> None:
    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(text)), flags=FINAL)
