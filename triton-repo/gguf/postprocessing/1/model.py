"""Triton's `postprocessing` model: token ids in, text out, with NVIDIA's tensor names.

It has no state: each part of an answer comes with the tokens before it that its text depends
on, and ends where a character ends (see whole_characters.py of the `tensorrt_llm` model).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from parent import end_with_triton
from tokenizers import Tokenizer


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        end_with_triton()
        parameters = json.loads(args["model_config"])["parameters"]
        path = Path(parameters["tokenizer_dir"]["string_value"]) / "tokenizer.json"
        self._skip_special_tokens = parameters["skip_special_tokens"]["string_value"] == "true"
        self._tokenizer = Tokenizer.from_file(str(path))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        text = self._decode_after(_ids(request, "CONTEXT_IDS"), _ids(request, "TOKENS_BATCH"))
        output = pb_utils.Tensor("OUTPUT", np.array([[text.encode()]], np.object_))
        return pb_utils.InferenceResponse([output])

    def _decode_after(self, context: list[int], ids: list[int]) -> str:
        """The text that `ids` add to the text of `context`."""
        if not ids:
            return ""
        before, text = self._decode(context), self._decode([*context, *ids])
        # Invalid bytes can change how the bytes before them decode.
        return text.removeprefix(before) if text.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        if not ids:
            return ""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=self._skip_special_tokens)
        return text


def _ids(request: Any, name: str) -> list[int]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else list(tensor.as_numpy().reshape(-1).tolist())
