"""Triton's `tensorrt_llm` model for GGUF engines: llama.cpp behind TensorRT-LLM's tensors."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from engine_request import Output, Request
from gauges import Gauges
from guided_starts import GuidedStarts
from llama_cpp import LlamaError
from llama_model import LlamaModel
from parent import end_with_triton
from request_tensors import read_asked, read_request, scalar
from responses import FINAL, Queue, Reply, Senders, send_error
from running import Running
from token_engine import TokenEngine
from watchdog import end_when_stuck

# How long a thread that reads a guide keeps Python's lock from the one that makes tokens; Python's
# own 5 ms would be waited for several times with every token.
SWITCH_SECONDS = 0.0005
# Of all cores: on two, fewer than one gap in a hundred between other answers' tokens gets longer.
SLOW_GUIDES_SHARE = 0.025


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        end_with_triton()
        sys.setswitchinterval(SWITCH_SECONDS)
        parameters = {
            name: value["string_value"]
            for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self._exclude_prompt = parameters["exclude_input_in_output"] == "true"
        engine = Path(parameters["gpt_model_path"])
        path = engine / "model.gguf"
        model = LlamaModel(
            path,
            parallel=int(parameters["parallel"]),
            context=int(parameters["context"]),
            threads=int(parameters["threads"]),
            prompt_tokens=int(parameters["prompt_tokens"]),
            ends=_end_ids(engine),
        )
        self._engine = TokenEngine(model)
        self._gauges = Gauges(args["model_name"], args["model_version"], model.parallel)
        period = int(parameters["cancellation_check_period_ms"]) / 1000
        self._running = Running(period, self._engine.cancel, self._show_load)
        self._senders = Senders(int(parameters["sender_threads"]), self._running.after_response)
        self._end_watchdog = end_when_stuck(self._senders.stuck, pb_utils.Logger.log_error)
        self._guided = GuidedStarts("guided-starts")
        share = min(1.0, SLOW_GUIDES_SHARE * len(os.sched_getaffinity(0)))
        self._slowly_guided = GuidedStarts("slowly-guided-starts", share=share)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._take(request, sender)
            except LlamaError as error:
                send_error(sender, str(error))

    def finalize(self) -> None:
        self._guided.close()
        self._slowly_guided.close()
        self._running.close()
        self._gauges.close()
        self._engine.close()
        self._senders.close()
        self._end_watchdog()

    def _take(self, request: Any, sender: Any) -> None:
        if scalar(request, "stop", False):
            self._stop(request.request_id(), sender)
            return
        asked = read_asked(request, exclude_prompt=self._exclude_prompt)
        wanted = read_request(request)
        reply = Reply(
            sender, request.request_id(), asked, wanted.prompt_ids, self._engine.model.spell
        )
        guide = wanted.sampling.guide
        if guide is None or self._engine.model.guide_is_ready(*guide):
            self._start(wanted, reply)
        else:
            self._guided.put(partial(self._start_guided, wanted, reply), len(guide[1]))

    def _start_guided(self, wanted: Request, reply: Reply, *, slowly: bool = False) -> None:
        if reply.is_cancelled():
            reply.abandon("the client left before its guide was compiled")
            return
        kind, text = wanted.sampling.guide or ("", "")
        try:
            if slowly or not self._engine.model.guide_is_slow(kind, text):
                self._start(wanted, reply)
            else:
                again = partial(self._start_guided, wanted, reply, slowly=True)
                self._slowly_guided.put(again, len(text))
        except Exception as error:
            # A request's guide must not end the thread that all requests need.
            reply.abandon(str(error) if isinstance(error, LlamaError) else repr(error))

    def _start(self, wanted: Request, reply: Reply) -> None:
        deliver = partial(self._deliver, reply, self._senders.queue())
        generation = reply.generation = self._engine.generation(wanted, deliver)
        # Register it before it can end.
        self._running.add(reply, generation)
        self._engine.start(generation)

    def _deliver(self, reply: Reply, queue: Queue, output: Output) -> None:
        queue.put((reply, output))
        if output.final:
            self._running.remove(reply)

    def _stop(self, request_id: str, sender: Any) -> None:
        if not request_id:
            raise LlamaError("stop needs the id of the request that is to be stopped")
        self._running.stop(request_id)
        sender.send(flags=FINAL)

    def _show_load(self) -> None:
        self._gauges.show(self._engine.load())


def _end_ids(engine: Path) -> list[int]:
    """The end tokens of generation_config.json: a GGUF holds only three."""
    path = engine / "generation_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    ids = stated.get("eos_token_id")
    return [token for token in (ids if isinstance(ids, list) else [ids]) if token is not None]
