"""Triton's `postprocessing` model: token ids in, text out, with NVIDIA's tensor names.

It sees a whole answer, or one response of a stream without those before it, and remembers nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from parent import end_with_triton
from tokenizers import Tokenizer

# Some tokenizers drop the space in front of the first word, and in a stream every response would
# begin with a first word. Behind this text it is never the first.
BEFORE = "a"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        end_with_triton()
        parameters = json.loads(args["model_config"])["parameters"]
        path = Path(parameters["tokenizer_dir"]["string_value"]) / "tokenizer.json"
        self._skip_special_tokens = parameters["skip_special_tokens"]["string_value"] == "true"
        self._tokenizer = Tokenizer.from_file(str(path))
        self._before = self._tokenizer.encode(BEFORE, add_special_tokens=False).ids

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tokens = pb_utils.get_input_tensor_by_name(request, "TOKENS_BATCH").as_numpy()[0]
        lengths = pb_utils.get_input_tensor_by_name(request, "SEQUENCE_LENGTH").as_numpy()[0]
        # One sequence per beam, padded to the longest.
        texts = [
            self._decode(beam[:length].tolist())
            for beam, length in zip(tokens, lengths, strict=True)
        ]
        output = pb_utils.Tensor(
            "OUTPUT", np.array([[text.encode() for text in texts]], np.object_)
        )
        return pb_utils.InferenceResponse([output])

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            [*self._before, *ids], skip_special_tokens=self._skip_special_tokens
        )
        return text.removeprefix(BEFORE)
