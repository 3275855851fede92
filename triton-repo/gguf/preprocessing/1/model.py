"""Triton's `preprocessing` model: text in, token ids out, with NVIDIA's tensor names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from parent import end_with_triton
from tokenizers import Tokenizer

# TensorRT-LLM's default for a model without a padding token; nothing is padded here.
NO_PADDING = 0


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        end_with_triton()
        parameters = json.loads(args["model_config"])["parameters"]
        engine = Path(parameters["tokenizer_dir"]["string_value"])
        self._add_special_tokens = parameters["add_special_tokens"]["string_value"] == "true"
        self._tokenizer = Tokenizer.from_file(str(engine / "tokenizer.json"))
        self._ends = end_ids(engine, self._tokenizer)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            return pb_utils.InferenceResponse(self._outputs(request))
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def _outputs(self, request: Any) -> list[Any]:
        ids = self._encode("".join(_texts(request, "QUERY")), special=self._add_special_tokens)
        given_end = _scalar(request, "END_ID")
        ends = self._ends if given_end is None else [given_end]
        stop_words = [self._encode(text) for text in _texts(request, "STOP_WORDS_DICT")]
        bad_words = [self._encode(text) for text in _texts(request, "BAD_WORDS_DICT")]
        return [
            _ints("INPUT_ID", [ids]),
            _ints("REQUEST_INPUT_LEN", [[len(ids)]]),
            _ints("REQUEST_OUTPUT_LEN", [[_scalar(request, "REQUEST_OUTPUT_LEN")]]),
            # Of several end tokens TensorRT-LLM takes one; the others become stop words.
            _ints("OUT_END_ID", [ends[:1] or [-1]]),
            _ints("OUT_PAD_ID", [[_scalar(request, "PAD_ID", NO_PADDING)]]),
            _ints("STOP_WORDS_IDS", [word_list([*stop_words, *([end] for end in ends[1:])])]),
            _ints("BAD_WORDS_IDS", [word_list(bad_words)]),
            pb_utils.Tensor("EMBEDDING_BIAS", self._bias(request)),
        ]

    def _encode(self, text: str, *, special: bool = False) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def _bias(self, request: Any) -> np.ndarray:
        """The bias per token, of shape [1, vocabulary]; [1, 0] if no word has one."""
        words = _texts(request, "EMBEDDING_BIAS_WORDS")
        tensor = pb_utils.get_input_tensor_by_name(request, "EMBEDDING_BIAS_WEIGHTS")
        weights = [] if tensor is None else tensor.as_numpy().reshape(-1).tolist()
        if len(words) != len(weights):
            raise ValueError(
                f"embedding_bias_words has {len(words)} words and embedding_bias_weights "
                f"{len(weights)} weights; expected one weight for each word"
            )
        size = self._tokenizer.get_vocab_size(with_added_tokens=True) if words else 0
        bias = np.zeros((1, size), np.float32)
        for word, weight in zip(words, weights, strict=True):
            bias[0, self._encode(word)] += weight
        return bias


def end_ids(engine: Path, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end an answer: of generation_config.json, else of tokenizer_config.json."""
    found = _read(engine / "generation_config.json").get("eos_token_id")
    if found is not None:
        return [found] if isinstance(found, int) else list(found)
    token = _read(engine / "tokenizer_config.json").get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(text) if text else None
    return [] if found is None else [found]


def word_list(words: Iterable[Sequence[int]]) -> list[list[int]]:
    """Row 0: the ids of all words, concatenated; row 1: the end of each, padded with -1."""
    words = [word for word in words if word]
    ids = [token for word in words for token in word]
    ends = [sum(len(word) for word in words[: place + 1]) for place in range(len(words))]
    return [ids, ends + [-1] * (len(ids) - len(ends))]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _texts(request: Any, name: str) -> list[str]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return []
    try:
        return [text.decode() for text in tensor.as_numpy().reshape(-1) if text]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error}") from error


def _scalar(request: Any, name: str, default: int | None = None) -> int | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else int(tensor.as_numpy().reshape(-1)[0])


def _ints(name: str, values: Any) -> Any:
    return pb_utils.Tensor(name, np.array(values, np.int32))
