"""The log probability that an engine's model gives each token of given texts, as a program.

    python engine_logprobs.py MODEL.gguf [--threads N] [--one-by-one] < windows.jsonl

in:    [1, 2, 3]             token ids, one list a line
out:   [-1.5, -0.25]         of the second and each later token

It is the token engine's own model (triton-repo/gguf), in the runtime of `enginix setup triton-cpu`:
its API returns log probabilities of answers only. `--one-by-one` reads each token in a step of
its own, as answers are generated; without it a window is one step, as prompts are read.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "triton-repo" / "gguf" / "tensorrt_llm" / "1"))

from llama_cpp import LlamaError
from llama_model import LlamaModel


def logprobs(model: LlamaModel, ids: Sequence[int], step: int) -> list[float]:
    """Of the second and each later token; `step` tokens are read at a time."""
    model.forget(0, 0)
    found: list[float] = []
    for start in range(0, len(ids) - 1, step):
        part = ids[start : min(start + step, len(ids) - 1)]
        for row, target in zip(_logits(model, start, part), ids[start + 1 :], strict=False):
            found.append(float(row[target] - np.logaddexp.reduce(row)))
    return found


def _logits(model: LlamaModel, position: int, tokens: Sequence[int]) -> np.ndarray:
    """What comes after each of the tokens; the model's own `sample` keeps the last alone."""
    model.batch.clear()
    for offset, token in enumerate(tokens):
        model.batch.add_token(0, position + offset, token)
    if code := model.decode():
        raise LlamaError(f"llama_decode ended with {code}")
    address = model._library.llama_get_logits(model._context)
    values = (ctypes.c_float * (len(tokens) * model.vocabulary_size)).from_address(address)
    return np.ctypeslib.as_array(values).reshape(len(tokens), -1).astype(np.float64)


def main() -> None:
    args = _parser().parse_args()
    windows = list(_windows())
    longest = max(map(len, windows))
    model = LlamaModel(
        args.model, parallel=1, context=longest, threads=args.threads, prompt_tokens=longest
    )
    for ids in windows:
        print(json.dumps(logprobs(model, ids, 1 if args.one_by_one else longest)), flush=True)
    model.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one-by-one", action="store_true")
    return parser


def _windows() -> Iterator[list[int]]:
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


if __name__ == "__main__":
    main()
