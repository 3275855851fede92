"""Triton's `tensorrt_llm_bls` model: text in, text out, streamed in whole characters.

Calls the ensemble's models itself, so that it can remember each answer's unfinished character.
A process serves one request at a time, in the thread in which Triton calls `execute`: the stub of
release 24.10 deadlocks when several threads read answers. `instance_group` sets how many run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import triton_python_backend_utils as pb_utils
from answers import Answers, checked
from parent import end_with_triton
from tensors import ASKED_FOR, PREPROCESSING, RENAMED, TOKENS
from text_stream import TextStream
from tokenizers import Tokenizer

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        end_with_triton()
        parameters = json.loads(args["model_config"])["parameters"]
        path = Path(parameters["tokenizer_dir"]["string_value"]) / "tokenizer.json"
        self._skip_special_tokens = parameters["skip_special_tokens"]["string_value"] == "true"
        self._tokenizer = Tokenizer.from_file(str(path))
        self._answers = Answers()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            names = frozenset(request.requested_output_names())
            self._answer(inputs, request.get_response_sender(), names)

    def _answer(self, inputs: dict[str, np.ndarray], sender: Any, names: frozenset[str]) -> None:
        try:
            self._send_answer(inputs, sender, names)
        except Exception as error:
            # Without an answer the client would wait for ever.
            error_of_triton = pb_utils.TritonError(str(error))
            sender.send(pb_utils.InferenceResponse(error=error_of_triton), flags=FINAL)

    def _send_answer(
        self, inputs: dict[str, np.ndarray], sender: Any, names: frozenset[str]
    ) -> None:
        if self._answers.is_cancelled(sender):
            sender.send(flags=FINAL)
            return
        wanted = _outputs(inputs)
        # Only what was requested: Triton's stub frees other tensors without Python's lock.
        beside = [name for name in wanted[2:] if name in names]
        request_id = uuid4().hex
        texts: dict[tuple[int, int], TextStream] = {}
        is_stream = bool(inputs.get("stream", np.zeros(1)).any())
        is_wanted = True
        question = _question(_tokens_of(inputs), wanted, request_id)
        for response in self._answers.of(question):
            if is_wanted and self._answers.is_cancelled(sender):
                is_wanted = False
                self._stop(request_id)
            outputs = {tensor.name(): tensor for tensor in response.output_tensors()}
            # The end of an answer may come without output.
            if is_wanted and "output_ids" in outputs:
                text = self._text(outputs, texts, is_stream)
                others = [outputs[name] for name in beside if name in outputs]
                sender.send(pb_utils.InferenceResponse([text, *others]))
        if is_stream and (left := [stream.finish() for stream in texts.values()]) and any(left):
            # A name keeps it: not requested, it is freed while it is sent.
            text = _texts(left)
            sender.send(pb_utils.InferenceResponse([text]))
        sender.send(flags=FINAL)

    def _stop(self, request_id: str) -> None:
        """End the generation: its client has left."""
        one = np.ones((1, 1), np.int32)
        inputs = [
            *(
                pb_utils.Tensor(name, one)
                for name in ("input_ids", "input_lengths", "request_output_len")
            ),
            pb_utils.Tensor("stop", np.ones((1, 1), np.bool_)),
        ]
        for _ in self._answers.of(_question(inputs, ["output_ids"], request_id)):
            pass

    def _text(
        self, outputs: dict[str, Any], texts: dict[tuple[int, int], TextStream], is_stream: bool
    ) -> Any:
        """text_output of one response: one text per beam."""
        beams = outputs["output_ids"].as_numpy()[0]
        lengths = outputs["sequence_length"].as_numpy()[0]
        index = outputs.get("sequence_index")
        sequence = 0 if index is None else int(index.as_numpy().reshape(-1)[0])
        parts = []
        for number, (beam, length) in enumerate(zip(beams, lengths, strict=True)):
            text = texts.setdefault((sequence, number), TextStream(self._decode))
            part = text.feed(beam[:length].tolist())
            parts.append(part if is_stream else part + text.finish())
        return _texts(parts)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=self._skip_special_tokens)
        return text


def _outputs(inputs: dict[str, np.ndarray]) -> list[str]:
    asked = [names for flag, names in ASKED_FOR.items() if flag in inputs and inputs[flag].any()]
    return ["output_ids", "sequence_length", *(name for names in asked for name in names)]


def _tokens_of(inputs: dict[str, np.ndarray]) -> list[Any]:
    """tensorrt_llm's inputs: those that preprocessing makes of the text, and all other options."""
    question = pb_utils.InferenceRequest(
        model_name="preprocessing",
        requested_output_names=list(TOKENS),
        inputs=[
            pb_utils.Tensor(PREPROCESSING[name], value)
            for name, value in inputs.items()
            if name in PREPROCESSING
        ],
    )
    answer = checked(question.exec())
    return [
        *(pb_utils.Tensor(TOKENS[out.name()], out.as_numpy()) for out in answer.output_tensors()),
        *(
            pb_utils.Tensor(RENAMED.get(name, name), value)
            for name, value in inputs.items()
            if name not in PREPROCESSING
        ),
    ]


def _question(inputs: list[Any], outputs: list[str], request_id: str) -> Any:
    return pb_utils.InferenceRequest(
        model_name="tensorrt_llm",
        request_id=request_id,
        requested_output_names=outputs,
        inputs=inputs,
    )


def _texts(texts: Sequence[str]) -> Any:
    encoded = np.array([[text.encode() for text in texts]], np.object_)
    return pb_utils.Tensor("text_output", encoded)
