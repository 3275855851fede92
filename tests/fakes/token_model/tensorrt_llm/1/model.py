"""Stands in for TensorRT-LLM inside the real Triton: cycles through the prompt, as fast as asked.

A request's id may hold knobs, `name=value` joined by `;`, so that a test can ask for trouble:
delay_us (per token), first_delay_us, tokens (per response), fail_at, die_at, hang_at (a token
number), split_final (the last token and the end in two responses). The id `report` is answered
with [active, cancelled, sent]: what runs now, how many requests were cancelled and how many
tokens were sent in all.

Several threads send, because one send() is a hand-off of about 130 microseconds to the server:
one thread alone caps at some 5,000 tokens per second.
"""

import json
import os
import signal
import threading
import time
from collections import deque

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
CANCEL_CHECK_SECONDS = 0.02
KNOBS = ("delay_us", "first_delay_us", "tokens", "fail_at", "die_at", "hang_at", "split_final")


def scalar(request, name, default):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0].item()


def stop_words(request):
    tensor = pb_utils.get_input_tensor_by_name(request, "stop_words_list")
    if tensor is None:
        return []
    ids, ends = tensor.as_numpy()[0].tolist()
    starts = [0, *ends]
    return [ids[start:end] for start, end in zip(starts, ends, strict=False) if end > start]


def knobs(request_id):
    pairs = (pair.partition("=") for pair in request_id.split(";"))
    return {name: int(value) for name, _, value in pairs if name in KNOBS}


def requested(tensors, names):
    """Triton's stub frees the others without holding Python's lock: Python 3.12 crashes."""
    return [tensor for tensor in tensors if tensor.name() in names]


class Generation:
    """One request, and how far it has come."""

    def __init__(self, request, defaults):
        prompt = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()[0]
        self.prompt = prompt[: scalar(request, "input_lengths", len(prompt))].tolist()
        self.wanted = scalar(request, "request_output_len", 0)
        if self.wanted < 1 or not self.prompt:
            raise ValueError("request_output_len and the prompt must not be empty")
        self.sender = request.get_response_sender()
        self.id = request.request_id()
        self.stopped = False
        self.requested = request.requested_output_names()
        self.offset = scalar(request, "seed", 0) or scalar(request, "random_seed", 0)
        self.end_id = scalar(request, "end_id", -1)
        self.stops = stop_words(request)
        self.logprobs = bool(scalar(request, "return_log_probs", False))
        self.knobs = {**defaults, **knobs(self.id)}
        self.done = 0
        delay = self.knobs.get("first_delay_us", self.knobs["delay_us"])
        self.due = time.monotonic() + delay / 1e6 if delay else 0.0

    def next_ids(self):
        """The next response's token ids, and whether they are the last."""
        count = min(self.knobs["tokens"], self.wanted - self.done)
        first = self.offset + self.done
        ids = [self.prompt[(first + i) % len(self.prompt)] for i in range(count)]
        if self.end_id in ids:
            return ids[: ids.index(self.end_id)], True
        for word in self.stops:
            if word[-1] in ids:
                return ids[: ids.index(word[-1])], True
        return ids, self.done + count >= self.wanted

    def reaches(self, knob):
        return knob in self.knobs and self.done >= self.knobs[knob]

    def send(self, ids, last):
        tensors = [
            pb_utils.Tensor("output_ids", np.array([[ids]], np.int32).reshape(1, 1, len(ids))),
            pb_utils.Tensor("sequence_length", np.array([[len(ids)]], np.int32)),
        ]
        if self.logprobs:
            values = -np.arange(self.done + 1, self.done + 1 + len(ids), dtype=np.float32) / 4
            tensors.append(pb_utils.Tensor("output_log_probs", values.reshape(1, 1, len(ids))))
        response = pb_utils.InferenceResponse(requested(tensors, self.requested))
        if last and self.knobs["split_final"]:
            self.sender.send(response)
            self.sender.send(flags=FINAL)
        else:
            self.sender.send(response, flags=FINAL if last else 0)
        self.done += len(ids)


class Sender(threading.Thread):
    """Steps its share of the requests, one response each in turn."""

    def __init__(self, model):
        super().__init__(daemon=True)
        self.model = model
        self.arrived = deque()
        self.active = []
        self.wake = threading.Event()
        self.cancelled = 0
        self.sent = 0

    def run(self):
        checked = 0.0
        while self.model.running or self.arrived:
            while self.arrived:
                self.active.append(self.arrived.popleft())
            now = time.monotonic()
            if now - checked >= CANCEL_CHECK_SECONDS:
                checked = now
                self.active = [one for one in self.active if not self.drop_cancelled(one)]
            self.active = [one for one in self.active if one.due > now or not self.step(one, now)]
            self.rest()

    def rest(self):
        now = time.monotonic()
        due = min((one.due for one in self.active), default=now + 1)
        if due > now:
            self.wake.wait(min(due - now, CANCEL_CHECK_SECONDS if self.active else 1))
            self.wake.clear()

    def drop_cancelled(self, one):
        if not one.stopped and not one.sender.is_cancelled():
            return False
        self.cancelled += 1
        one.send([], last=True)
        return True

    def step(self, one, now):
        """One response; True when it was the last."""
        if one.reaches("hang_at"):
            threading.Event().wait()
        if one.reaches("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if one.reaches("fail_at"):
            self.model.fail(one.sender, "CUDA error: an illegal memory access was encountered")
            return True
        ids, last = one.next_ids()
        one.send(ids, last)
        self.sent += len(ids)
        one.due = now + one.knobs["delay_us"] / 1e6 if one.knobs["delay_us"] else 0.0
        return last


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        settings = {name: int(value["string_value"]) for name, value in parameters.items()}
        self.defaults = {
            "delay_us": settings["delay_us"],
            "tokens": settings["tokens"],
            "split_final": 0,
        }
        self.running = True
        self.turn = 0
        self.senders = [Sender(self) for _ in range(settings["senders"])]
        for sender in self.senders:
            sender.start()

    def execute(self, requests):
        for request in requests:
            if request.request_id() == "report":
                self.report(request)
                continue
            if scalar(request, "stop", False):
                self.stop(request)
                continue
            try:
                generation = Generation(request, self.defaults)
            except Exception as error:
                self.fail(
                    request.get_response_sender(),
                    "An error occurred when processing the input values for request id "
                    f"{request.request_id()}, the error was '{error}'",
                )
                continue
            sender = self.senders[self.turn % len(self.senders)]
            self.turn += 1
            sender.arrived.append(generation)
            sender.wake.set()

    def stop(self, request):
        for sender in self.senders:
            for one in [*sender.arrived, *sender.active]:
                one.stopped |= one.id == request.request_id()
        request.get_response_sender().send(flags=FINAL)

    def report(self, request):
        active = sum(len(sender.active) + len(sender.arrived) for sender in self.senders)
        cancelled = sum(sender.cancelled for sender in self.senders)
        sent = sum(sender.sent for sender in self.senders)
        answer = np.array([[[active, cancelled, sent]]], np.int32)
        tensors = [
            pb_utils.Tensor("output_ids", answer),
            pb_utils.Tensor("sequence_length", np.array([[3]], np.int32)),
        ]
        response = pb_utils.InferenceResponse(requested(tensors, request.requested_output_names()))
        request.get_response_sender().send(response, flags=FINAL)

    def fail(self, sender, message):
        error = pb_utils.TritonError(message)
        sender.send(pb_utils.InferenceResponse(output_tensors=[], error=error), flags=FINAL)

    def finalize(self):
        self.running = False
        for sender in self.senders:
            sender.wake.set()
            sender.join(2)
